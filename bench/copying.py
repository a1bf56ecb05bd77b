"""Compare stream copy, encoding and MoviePy's defaults; key frames close and far apart."""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench import paired, plots, quality, sources
from bench.implementations import OURS, USER_MOVIEPY, by_moviepy, ours
from bench.paired import Runs
from bench.registry import Options
from bench.report import Comparison, Report, Table
from bench.usage import measure
from worker_server.media import (
    PROFILES,
    FrameRange,
    PartEdit,
    Quality,
    probe,
    verify_clip,
)

COPIED = "ours, copied"
# As a worker with two cores does; MoviePy uses both cores for one part.
TWO_COPIED = "ours, copied, one of two at once"
# The distance of key frames in seconds, and the goal: MoviePy's time / the copy's.
_GOALS = {2: 15.0, 8: 8.0}
_RATE = 30
_PART_S = 20
_EVERY = 2  # frames; a part has 600
_MEASURES = ("wall_s", "cpu_s", "peak_bytes", "size_bytes", *quality.MEASURES)
_COLUMNS = ("source", "method", "wall s", "CPU s", "peak MiB", "size MiB", *quality.COLUMNS)


def run(options: Options) -> Report:
    rows: list[tuple[str | float, ...]] = []
    comparisons: list[Comparison] = []
    runs_by_source: dict[str, Runs] = {}
    with tempfile.TemporaryDirectory(prefix="idrl-bench-") as folder:
        for gop_s, goal in _GOALS.items():
            name = f"key frames {gop_s} s apart"
            edit = _edit(_source(gop_s, options), gop_s)
            runs = paired.take_turns(_methods(edit, Path(folder)), 1 if options.quick else 2)
            _add_quality(runs, edit, Path(folder))
            rows += [(name, method, *paired.medians(runs, method, _MEASURES)) for method in runs]
            for of, to, at_least in (
                (USER_MOVIEPY, COPIED, goal),
                (USER_MOVIEPY, TWO_COPIED, goal),
                (OURS, COPIED, None),
            ):
                ratio = paired.ratio(runs, of, to, "wall_s")
                comparisons.append(
                    Comparison(f"{name}: wall, {of} / {to}", ratio, at_least=at_least)
                )
            runs_by_source[name] = runs
    _plot(options.plots, runs_by_source)
    title = f"One part of {_PART_S} s of 1080p30 that starts half-way between two key frames"
    return Report([Table(title, _COLUMNS, rows)], comparisons, {"runs": runs_by_source})


def _plot(folder: Path, runs_by_source: dict[str, Runs]) -> None:
    walls = {
        f"{source}, {method}": paired.median(runs, method, "wall_s")
        for source, runs in runs_by_source.items()
        for method in runs
    }
    plots.bars(folder, "copying", f"Time for one part of {_PART_S} s of 1080p30", "seconds", walls)


def _source(gop_s: int, options: Options) -> Path:
    spec = (
        sources.delivered(gop_s, 1, size=(384, 216)) if options.quick else sources.delivered(gop_s)
    )
    return sources.make(spec)


def _edit(video: Path, gop_s: int) -> PartEdit:
    """Return the edit of a part that starts half-way between two key frames."""
    gop, source = gop_s * _RATE, probe(video)
    key = -(-(_PART_S * _RATE + gop // 2) // gop) * gop
    start = key - gop // 2
    return PartEdit.of(
        source,
        video,
        FrameRange(0, start, start + _PART_S * _RATE, source.frame_rate),
        profile=replace(PROFILES[Quality.BALANCED], threads=1),
    )


def _methods(edit: PartEdit, folder: Path) -> dict[str, Callable[[], dict[str, float]]]:
    work: dict[str, Callable[[PartEdit, Path], None]] = {
        COPIED: copied,
        TWO_COPIED: _two_copied,
        OURS: ours,
        USER_MOVIEPY: by_moviepy,
    }
    return {
        name: partial(_sample, partial(make, edit), folder / f"{name}.mp4")
        for name, make in work.items()
    }


def _sample(make: Callable[[Path], None], output: Path) -> dict[str, float]:
    sample = measure(lambda: make(output)).sample() | {"size_bytes": float(output.stat().st_size)}
    if output.stem == TWO_COPIED:
        sample |= {name: sample[name] / 2 for name in ("wall_s", "cpu_s")}
    return sample


def copied(edit: PartEdit, output: Path) -> None:
    """Copy the part as a worker does, verification by decoding included."""
    ours(edit, output, "copy")


def _two_copied(edit: PartEdit, output: Path) -> None:
    outputs = [output, output.with_name("second.mp4")]
    with ThreadPoolExecutor(len(outputs)) as pool:
        list(pool.map(partial(copied, edit), outputs))


def _add_quality(runs: Runs, edit: PartEdit, folder: Path) -> None:
    for name in (COPIED, TWO_COPIED, OURS):
        verify_clip(folder / f"{name}.mp4", edit)
    for name, samples in runs.items():
        is_exact = name != USER_MOVIEPY
        scores = quality.quality(folder / f"{name}.mp4", edit, _EVERY, is_exact=is_exact).sample()
        runs[name] = [{**sample, **scores} for sample in samples]
