"""Which x264 settings clips should have: processor time, size and quality on each source."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from bench import plots, quality, reference_encode
from bench.implementations import USER_MOVIEPY, by_moviepy, edits, ours
from bench.paired import ratio_of
from bench.reference_encode import (
    REFERENCE,
    by_reference_encode,
    goals_reached,
    size_ratio,
    vmaf_margins,
)
from bench.registry import Options
from bench.report import Comparison, Report, Table
from bench.usage import measure
from worker_server.media import PROFILES, PartEdit, Profile

_SECONDS = 4
# Measured besides PROFILES: the settings of 0.1.0, and the runner-up for `small` (decision 0053).
_OTHERS = (Profile("ultrafast", 22, 1), Profile("slow", 22.35, 1, "-psy 0"))

Make = Callable[[PartEdit, Path], None]
Samples = dict[str, dict[str, float]]  # by setting: cpu_s, size_bytes, vmaf_…


def run(options: Options) -> Report:
    samples = {name: _measure(_part(video)) for name, video in options.videos().items()}
    tables = [_source_table(name, clips) for name, clips in samples.items()]
    _plot(options.plots, samples)
    comparisons = [
        comparison
        for source, clips in samples.items()
        for level in PROFILES
        for comparison in _comparisons(source, level, clips)
    ]
    return Report([*tables, _goals_table(samples)], comparisons, {"samples": samples})


def _part(video: Path) -> PartEdit:
    parts = edits(video, Profile(), _SECONDS)
    return parts[len(parts) // 2]


def _settings() -> Iterator[tuple[str, Make]]:
    yield USER_MOVIEPY, by_moviepy
    yield REFERENCE, by_reference_encode
    for level, profile in PROFILES.items():
        yield level, _by_setting(replace(profile, threads=1))
    for profile in _OTHERS:
        name = f"{profile.preset} crf {profile.crf:g} {profile.options}"
        yield name.strip(), _by_setting(profile)


def _by_setting(profile: Profile) -> Make:
    return lambda edit, output: ours(replace(edit, profile=profile), output)


def _measure(edit: PartEdit) -> Samples:
    samples = {}
    with tempfile.TemporaryDirectory(prefix="idrl-bench-") as folder:
        output = Path(folder) / "clip.mp4"
        for name, make in _settings():
            samples[name] = _sample(make, edit, output)
            print(f"{edit.source_path.name}: {name} done", file=sys.stderr)
    return samples


def _sample(make: Make, edit: PartEdit, output: Path) -> dict[str, float]:
    usage = measure(lambda: make(edit, output))
    scores = quality.quality(output, edit, is_exact=make is not by_moviepy)
    return usage.sample() | scores.sample() | {"size_bytes": float(output.stat().st_size)}


def _source_table(source: str, samples: Samples) -> Table:
    base = samples[REFERENCE]
    rows: list[tuple[str | float, ...]] = [
        (
            setting,
            sample["cpu_s"],
            sample["cpu_s"] / samples[USER_MOVIEPY]["cpu_s"],
            size_ratio(sample, base),
            *(sample[name] for name in quality.MEASURES),
        )
        for setting, sample in samples.items()
    ]
    columns = ("setting", "CPU s", "CPU / MoviePy's", "bytes / reference's", *quality.COLUMNS)
    title = f"{source}: x264 settings on {_SECONDS} s, one thread; the reference is {REFERENCE}"
    return Table(title, columns, rows)


def _comparisons(source: str, level: str, samples: Samples) -> list[Comparison]:
    """Return size, quality and processor time of a level on one source, each with its goal.

    MoviePy keeps all cores busy with one part, and a worker with as many parts: so the ratio of
    processor time is that of wall clock on a machine that does nothing else.
    """
    speed = ratio_of([samples[USER_MOVIEPY]["cpu_s"]], [samples[level]["cpu_s"]])
    return [
        *reference_encode.comparisons(source, level, samples[level], samples[REFERENCE], level),
        Comparison(
            f"{source}: CPU, {USER_MOVIEPY} / {level}",
            speed,
            at_least=reference_encode.GOALS[level].min_speed,
        ),
    ]


def _goals_table(samples: dict[str, Samples]) -> Table:
    """The worst source decides, never a mean over sources."""
    rows: list[tuple[str | float, ...]] = []
    for setting in next(iter(samples.values())):
        pairs = {source: (clips[setting], clips[REFERENCE]) for source, clips in samples.items()}
        largest = max(size_ratio(*pair) for pair in pairs.values())
        means, lows = zip(*(vmaf_margins(*pair) for pair in pairs.values()), strict=True)
        rows.append((setting, largest, min(means), min(lows), ", ".join(goals_reached(pairs))))
    columns = ("setting", "most bytes", "least VMAF", "least VMAF 1 % low", "goals reached")
    return Table(f"The worst source of each setting, against {REFERENCE}", columns, rows)


def _plot(folder: Path, samples: dict[str, Samples]) -> None:
    """Draw worst VMAF against the reference's over mean processor time and mean size."""
    count = len(samples)
    for name, measured, unit in (
        ("profile-cpu", "cpu_s", "processor time"),
        ("profile-size", "size_bytes", "size"),
    ):
        groups: dict[str, dict[str, tuple[float, float]]] = {}
        for setting in sorted(next(iter(samples.values()))):
            preset, _, crf = setting.partition(" ")
            pairs = [(row[setting], row[REFERENCE]) for row in samples.values()]
            cost = sum(sample[measured] / base[measured] for sample, base in pairs) / count
            margin = min(vmaf_margins(*pair)[0] for pair in pairs)
            groups.setdefault(preset, {})[crf] = (cost, margin)
        axes = (f"{unit}, for 1 of the reference's", "VMAF above the reference's, worst source")
        plots.scatter(folder, name, f"Quality against {unit}", axes, groups, scale="x")
