"""A whole job, 50 s in three parts: our layouts, MoviePy by its defaults, the reference encode."""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from bench import paired, plots, quality, reference_encode
from bench.implementations import USER_MOVIEPY, by_moviepy, edits, ours
from bench.paired import Ratio, Runs, Sample
from bench.reference_encode import REFERENCE, by_reference_encode
from bench.registry import Options
from bench.report import Comparison, Report, Table
from bench.usage import measure
from worker_server.media import PROFILES, PartEdit, Quality

_MIN_SPEED = 6.0
_QUALITY_EVERY = 2  # compare every second frame; a part has 500 to 600
# Parts at once, threads of each; the first is what a machine of two cores does by default.
_LAYOUTS = ((2, 1), (1, 2))
_MEASURES = ("wall_s", "cpu_s", "peak_bytes", "size_bytes", *quality.MEASURES)
_COLUMNS = ("source", "method", "wall s", "CPU s", "peak MiB", "size MiB", *quality.COLUMNS)


def run(options: Options) -> Report:
    profile = PROFILES[Quality.BALANCED]
    rows: list[tuple[str | float, ...]] = []
    comparisons: list[Comparison] = []
    figures: dict[str, Runs] = {}
    walls: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="idrl-bench-") as folder:
        for name, video in _videos(options).items():
            parts = edits(video, profile, 1 if options.quick else 20)
            runs, speed = _runs(parts, Path(folder))
            rows += [(name, method, *paired.medians(runs, method, _MEASURES)) for method in runs]
            comparisons.append(
                Comparison(f"{name}: wall clock, {USER_MOVIEPY} / ours", speed, at_least=_MIN_SPEED)
            )
            default = runs[_layout(*_LAYOUTS[0])][0]
            comparisons += reference_encode.comparisons(name, "ours", default, runs[REFERENCE][0])
            walls |= {f"{name}, {method}": samples[0]["wall_s"] for method, samples in runs.items()}
            figures[name] = runs
    settings = f"ours with {' '.join(profile.encoder_arguments)}"
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
    """What a site delivers, what a camera with much grain writes, and real footage."""
    videos = options.videos()
    return {
        name: videos[name] for name in ("delivered", "grain", "bunny") if name in videos
    } or videos


def _runs(parts: list[PartEdit], folder: Path) -> tuple[Runs, Ratio]:
    """Return all methods' samples, and how much longer MoviePy takes than our default layout."""
    methods = {_layout(*layout): _parallel_parts(parts, folder, *layout) for layout in _LAYOUTS}
    default = next(iter(methods))
    # MoviePy takes minutes: it has one turn, between two of ours.
    runs = paired.take_turns(methods, 1)
    slow = {USER_MOVIEPY: by_moviepy, REFERENCE: by_reference_encode}
    runs |= {name: [_job(parts, folder, 1, make)] for name, make in slow.items()}
    runs[default].append(methods[default]())
    ours_s = [sample["wall_s"] for sample in runs[default]]
    return runs, paired.ratio_of([runs[USER_MOVIEPY][0]["wall_s"]] * len(ours_s), ours_s)


def _layout(processes: int, threads: int) -> str:
    return f"{processes} at once, {threads} thread{'s' if threads > 1 else ''} each"


def _parallel_parts(
    parts: list[PartEdit], folder: Path, processes: int, threads: int
) -> Callable[[], Sample]:
    profile = replace(parts[0].profile, threads=threads)
    threaded = [replace(edit, profile=profile) for edit in parts]
    return lambda: _job(threaded, folder, processes, ours)


def _job(
    parts: list[PartEdit], folder: Path, processes: int, make: Callable[[PartEdit, Path], None]
) -> Sample:
    """Make all parts, some in parallel; return their cost and the first one's quality."""
    outputs = [folder / f"{edit.part.number}.mp4" for edit in parts]
    usage = measure(lambda: _make_all(parts, outputs, processes, make))
    size_bytes = float(sum(output.stat().st_size for output in outputs))
    scores = quality.quality(outputs[0], parts[0], _QUALITY_EVERY, is_exact=make is not by_moviepy)
    return usage.sample() | scores.sample() | {"size_bytes": size_bytes}


def _make_all(
    parts: list[PartEdit],
    outputs: list[Path],
    processes: int,
    make: Callable[[PartEdit, Path], None],
) -> None:
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(make, parts, outputs))
