"""A whole job, 50 s in three parts: our settings and layouts against MoviePy by its defaults."""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from bench import paired, plots
from bench.implementations import USER_MOVIEPY, by_moviepy, edits, ours
from bench.paired import Ratio, Runs, Sample
from bench.registry import Options
from bench.report import Comparison, Report, Table
from bench.usage import measure
from bench.vmaf import vmaf
from worker_server.media import PartEdit, Profile

_MIN_SPEED = 6.0
_VMAF_EVERY = 10  # frames
# Parts at once, threads of each; the first is what a machine of two cores does by default.
_LAYOUTS = ((2, 1), (1, 2))
_MEASURES = ("wall_s", "cpu_s", "peak_bytes", "size_bytes", "vmaf_mean", "vmaf_worst")
_COLUMNS = ("source", "way", "wall s", "CPU s", "peak MiB", "size MiB", "VMAF", "VMAF worst frame")


def run(options: Options) -> Report:
    profile = Profile()
    rows: list[tuple[str | float, ...]] = []
    comparisons: list[Comparison] = []
    figures: dict[str, Runs] = {}
    walls: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="idrl-bench-") as folder:
        for name, video in _videos(options).items():
            parts = edits(video, profile, 1 if options.quick else 20)
            runs, speed = _runs(parts, Path(folder))
            rows += [(name, way, *paired.medians(runs, way, _MEASURES)) for way in runs]
            comparisons.append(
                Comparison(f"{name}: wall clock, {USER_MOVIEPY} / ours", speed, at_least=_MIN_SPEED)
            )
            walls |= {f"{name}, {way}": samples[0]["wall_s"] for way, samples in runs.items()}
            figures[name] = runs
    settings = f"ours with {profile.preset} crf {profile.crf}"
    plots.bars(
        options.plots,
        "job",
        f"Three parts, 50 s of 1080p30, {settings}",
        "wall clock, seconds",
        walls,
    )
    return Report(
        [Table(f"50 s in three parts; {settings}", _COLUMNS, rows)], comparisons, {"runs": figures}
    )


def _videos(options: Options) -> dict[str, Path]:
    """What a site delivers, and what a camera with much grain writes."""
    videos = options.videos()
    return {name: videos[name] for name in ("delivered", "grain") if name in videos} or videos


def _runs(parts: list[PartEdit], folder: Path) -> tuple[Runs, Ratio]:
    """Return what every way takes, and how much longer MoviePy needs than the first of ours."""
    ways = {_layout(*layout): _ours(parts, folder, *layout) for layout in _LAYOUTS}
    default = next(iter(ways))
    # MoviePy takes minutes: it has one turn, between two of ours.
    runs = paired.take_turns(ways, 1)
    runs |= paired.take_turns({USER_MOVIEPY: lambda: _job(parts, folder, 1, by_moviepy)}, 1)
    runs[default].append(ways[default]())
    ours_s = [sample["wall_s"] for sample in runs[default]]
    return runs, paired.ratio_of([runs[USER_MOVIEPY][0]["wall_s"]] * len(ours_s), ours_s)


def _layout(processes: int, threads: int) -> str:
    return f"{processes} at once, {threads} thread{'s' if threads > 1 else ''} each"


def _ours(
    parts: list[PartEdit], folder: Path, processes: int, threads: int
) -> Callable[[], Sample]:
    profile = replace(parts[0].profile, threads=threads)
    threaded = [replace(edit, profile=profile) for edit in parts]
    return lambda: _job(threaded, folder, processes, ours)


def _job(
    parts: list[PartEdit], folder: Path, processes: int, make: Callable[[PartEdit, Path], None]
) -> Sample:
    """Make all parts, so many at once, and return what that cost and how the first one looks."""
    outputs = [folder / f"{edit.part.number}.mp4" for edit in parts]
    usage = measure(lambda: _make_all(parts, outputs, processes, make))
    size_bytes = float(sum(output.stat().st_size for output in outputs))
    quality = vmaf(outputs[0], parts[0], _VMAF_EVERY, is_exact=make is ours)
    return usage.sample() | quality.sample() | {"size_bytes": size_bytes}


def _make_all(
    parts: list[PartEdit],
    outputs: list[Path],
    processes: int,
    make: Callable[[PartEdit, Path], None],
) -> None:
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(make, parts, outputs))
