"""One part by hand, by both our renderers, as MoviePy users write it, as the reference encode."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import paired, plots, quality, reference_encode
from bench.implementations import (
    HAND,
    OUR_MOVIEPY,
    OURS,
    USER_MOVIEPY,
    by_hand,
    by_moviepy,
    edits,
    ours,
)
from bench.paired import Runs
from bench.reference_encode import REFERENCE, by_reference_encode
from bench.registry import Options
from bench.report import Comparison, Report, Table
from bench.usage import measure
from worker_server.media import PROFILES, PartEdit, Quality

_MAX_CPU_RATIO = 1.03
_SECONDS = 4  # length of the part; MoviePy takes minutes for a longer one
_MEASURES = ("wall_s", "cpu_s", "peak_bytes", "size_bytes", *quality.MEASURES)
_COLUMNS = ("source", "method", "wall s", "CPU s", "peak MiB", "size MiB", *quality.COLUMNS)


def run(options: Options) -> Report:
    profile = PROFILES[Quality.BALANCED]
    report_rows: list[tuple[str | float, ...]] = []
    comparisons = []
    runs_by_source = {}
    with tempfile.TemporaryDirectory(prefix="idrl-bench-") as folder:
        for name, video in options.videos().items():
            edit = _middle(edits(video, profile, _SECONDS))
            # The two whose ratio has to be exact to a hundredth take many turns, the slow ones few.
            runs = paired.take_turns(_methods(edit, Path(folder), (HAND, OURS)), options.rounds + 2)
            runs |= paired.take_turns(
                _methods(edit, Path(folder), (OUR_MOVIEPY, USER_MOVIEPY, REFERENCE)), 1
            )
            _add_quality(runs, edit, Path(folder))
            report_rows += [
                (name, method, *paired.medians(runs, method, _MEASURES)) for method in runs
            ]
            cpu = paired.ratio(runs, OURS, HAND, "cpu_s")
            comparisons.append(
                Comparison(f"{name}: CPU, {OURS} / {HAND}", cpu, at_most=_MAX_CPU_RATIO)
            )
            comparisons += reference_encode.comparisons(
                name, OURS, runs[OURS][-1], runs[REFERENCE][-1]
            )
            runs_by_source[name] = runs
    _plot(options.plots, runs_by_source)
    settings = " ".join(profile.encoder_arguments)
    title = (
        f"One part of {_SECONDS} s, by hand and ours with {settings} and the same threads,"
        " MoviePy by its defaults"
    )
    return Report([Table(title, _COLUMNS, report_rows)], comparisons, {"runs": runs_by_source})


def _middle(parts: list[PartEdit]) -> PartEdit:
    """Return the middle part: the first one needs no seek, the last one is short."""
    return parts[len(parts) // 2]


def _methods(
    edit: PartEdit, folder: Path, names: tuple[str, ...]
) -> dict[str, Callable[[], dict[str, float]]]:
    work: dict[str, Callable[[PartEdit, Path], None]] = {
        HAND: by_hand,
        OURS: ours,
        OUR_MOVIEPY: lambda edit, output: ours(edit, output, "moviepy"),
        USER_MOVIEPY: by_moviepy,
        REFERENCE: by_reference_encode,
    }

    def method(name: str) -> dict[str, float]:
        output = folder / f"{name}.mp4"
        usage = measure(lambda: work[name](edit, output))
        return usage.sample() | {"size_bytes": float(output.stat().st_size)}

    return {name: lambda name=name: method(name) for name in names}  # type: ignore[misc] # binds the name


def _add_quality(runs: Runs, edit: PartEdit, folder: Path) -> None:
    """All clips of one method are the same, so the last one stands for all."""
    for name, samples in runs.items():
        is_exact = name != USER_MOVIEPY
        scores = quality.quality(folder / f"{name}.mp4", edit, is_exact=is_exact).sample()
        runs[name] = [{**sample, **scores} for sample in samples]


def _plot(folder: Path, runs_by_source: dict[str, Runs]) -> None:
    values = {
        f"{source}, {method}": paired.median(runs, method, "cpu_s")
        for source, runs in runs_by_source.items()
        for method in runs
    }
    plots.bars(
        folder,
        "render",
        f"Processor time for one part of {_SECONDS} s of 1080p",
        "CPU seconds",
        values,
    )
