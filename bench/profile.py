"""Which x264 settings clips should have: processor time, size and VMAF of many, against MoviePy by its defaults."""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from bench import plots
from bench.implementations import USER_MOVIEPY, by_hand, by_moviepy, edits
from bench.registry import Options
from bench.report import Report, Table
from bench.usage import measure
from bench.vmaf import vmaf
from worker_server.media import PartEdit, Profile

_SECONDS = 4
_VMAF_EVERY = 6  # frames
_CRFS = {
    "ultrafast": (20, 21, 22, 23, 24, 25),
    "superfast": (20, 21, 22, 23),
    "veryfast": (18, 20, 22),
    "medium": (23,),  # what MoviePy has x264 do
}

Found = dict[str, dict[str, float]]  # by setting: cpu_s, size_bytes, vmaf_…


def run(options: Options) -> Report:
    found = {name: _measure(_part(video)) for name, video in options.videos().items()}
    rows = [_row(setting, found) for setting in next(iter(found.values()))]
    rows.sort(key=lambda row: row[1])
    quality = [f"VMAF, worst frame: {name}" for name in found]
    columns = ("setting", "CPU", "size", *quality, "VMAF above, least", "worst frame above, least")
    _plot(options.plots, rows)
    title = (
        f"x264 settings on {_SECONDS} s of each source; CPU and size are means of ratios to MoviePy"
    )
    return Report([Table(title, columns, rows)], figures={"found": found})


def _part(video: Path) -> PartEdit:
    parts = edits(video, Profile(), _SECONDS)
    return parts[len(parts) // 2]


def _measure(edit: PartEdit) -> Found:
    with tempfile.TemporaryDirectory(prefix="idrl-bench-") as folder:
        output = Path(folder) / "clip.mp4"
        found = {USER_MOVIEPY: _sample(by_moviepy, edit, output)}
        for preset, crfs in _CRFS.items():
            for crf in crfs:
                tried = replace(edit, profile=Profile(preset, crf, 1))
                found[f"{preset} crf {crf}"] = _sample(by_hand, tried, output)
                print(f"{edit.source_path.name}: {preset} crf {crf} done", file=sys.stderr)
    return found


def _sample(
    make: Callable[[PartEdit, Path], None], edit: PartEdit, output: Path
) -> dict[str, float]:
    usage = measure(lambda: make(edit, output))
    quality = vmaf(output, edit, _VMAF_EVERY, is_exact=make is by_hand).sample()
    return usage.sample() | quality | {"size_bytes": float(output.stat().st_size)}


def _row(setting: str, found: dict[str, Found]) -> tuple[Any, ...]:
    """Return the mean cost of a setting over all sources, and its quality on each."""
    pairs = [(settings[setting], settings[USER_MOVIEPY]) for settings in found.values()]
    cpu, size = (
        mean(mine[name] / theirs[name] for mine, theirs in pairs)
        for name in ("cpu_s", "size_bytes")
    )
    above = [
        min(mine[name] - theirs[name] for mine, theirs in pairs)
        for name in ("vmaf_mean", "vmaf_worst")
    ]
    return (
        setting,
        cpu,
        size,
        *(f"{mine['vmaf_mean']:.1f}, {mine['vmaf_worst']:.1f}" for mine, _ in pairs),
        *above,
    )


def _plot(folder: Path, rows: list[tuple[Any, ...]]) -> None:
    for name, place, unit in (("profile-cpu", 1, "processor time"), ("profile-size", 2, "size")):
        groups: dict[str, dict[str, tuple[float, float]]] = {}
        for row in sorted(rows):
            preset, _, crf = row[0].partition(" ")
            groups.setdefault(preset, {})[crf] = (row[place], row[-2])
        axes = (f"{unit}, for 1 of MoviePy's", "VMAF above MoviePy's, worst source")
        plots.scatter(folder, name, f"Quality against {unit}", axes, groups, scale="x")
