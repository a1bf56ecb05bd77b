"""A whole job, 50 s in three parts: our settings and layouts against MoviePy by its defaults."""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from bench import pairs, plots, sources
from bench.pairs import Sample
from bench.registry import Options
from bench.report import Comparison, Report, Table
from bench.usage import measure
from bench.vmaf import vmaf
from bench.ways import USER_MOVIEPY, by_moviepy, edits, ours
from worker_server.media import PartEdit, Profile

_MIB = 1024**2
_MIN_SPEED = 6.0
_VMAF_EVERY = 10  # frames
# Parts at once, threads of each; the first is what a machine of two cores does by default.
_LAYOUTS = ((2, 1), (1, 2))
_MEASURES = ("wall_s", "cpu_s", "peak_bytes", "size_bytes", "vmaf_mean", "vmaf_worst")


def run(options: Options) -> Report:
    video = options.video or sources.make(sources.QUICK if options.quick else sources.hd("zoom"))
    profile = Profile()
    parts = edits(video, profile, 1 if options.quick else 20)
    with tempfile.TemporaryDirectory(prefix="idrl-bench-") as name:
        folder = Path(name)
        ways = {_layout(*layout): _ours(parts, folder, *layout) for layout in _LAYOUTS}
        default = next(iter(ways))
        # MoviePy takes minutes: it has one turn, between two of ours.
        runs = pairs.take_turns(ways, 1)
        runs |= pairs.take_turns({USER_MOVIEPY: lambda: _job(parts, folder, 1, by_moviepy)}, 1)
        again = ways[default]()
    wall = pairs.ratio_of([runs[USER_MOVIEPY][0]["wall_s"]] * 2, [runs[default][0]["wall_s"], again["wall_s"]])
    rows = [_row(way, runs[way][0]) for way in runs]
    settings = f"{profile.preset} crf {profile.crf}"
    walls = {way: samples[0]["wall_s"] for way, samples in runs.items()}
    plots.bars(
        options.plots, "job", f"Three parts, 50 s of 1080p30, ours with {settings}", "wall clock, seconds", walls
    )
    title = f"{len(parts)} parts of {video.name}; ours with {settings}"
    columns = ("way", "wall s", "CPU s", "peak MiB", "size MiB", "VMAF", "VMAF worst frame")
    comparison = Comparison(f"wall clock, {USER_MOVIEPY} / ours, {default}", wall, at_least=_MIN_SPEED)
    return Report([Table(title, columns, rows)], [comparison], {"runs": runs, "again": again})


def _layout(processes: int, threads: int) -> str:
    return f"{processes} at once, {threads} thread{'s' if threads > 1 else ''} each"


def _ours(parts: list[PartEdit], folder: Path, processes: int, threads: int) -> Callable[[], Sample]:
    profile = replace(parts[0].profile, threads=threads)
    threaded = [replace(edit, profile=profile) for edit in parts]
    return lambda: _job(threaded, folder, processes, ours)


def _job(parts: list[PartEdit], folder: Path, processes: int, make: Callable[[PartEdit, Path], None]) -> Sample:
    """Make all parts, so many at once, and return what that cost and how the first one looks."""
    outputs = [folder / f"{edit.part.number}.mp4" for edit in parts]
    usage = measure(lambda: _make_all(parts, outputs, processes, make))
    size_bytes = float(sum(output.stat().st_size for output in outputs))
    quality = vmaf(outputs[0], parts[0], _VMAF_EVERY, is_exact=make is ours)
    return usage.sample() | quality.sample() | {"size_bytes": size_bytes}


def _make_all(
    parts: list[PartEdit], outputs: list[Path], processes: int, make: Callable[[PartEdit, Path], None]
) -> None:
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(make, parts, outputs))


def _row(way: str, sample: Sample) -> tuple[str | float, ...]:
    values = {name: sample[name] for name in _MEASURES}
    values["peak_bytes"] /= _MIB
    values["size_bytes"] /= _MIB
    return (way, *values.values())
