"""Which x264 settings clips should have: processor time, size and VMAF of many, and of MoviePy's own ones."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from bench import plots
from bench.registry import Options
from bench.report import Report, Table
from bench.usage import measure
from bench.vmaf import vmaf
from bench.ways import by_hand, edits
from worker_server.media import PartEdit, Profile

_SECONDS = 4
_VMAF_EVERY = 6  # frames
# What MoviePy writes with; its own detour through RGB is measured in `job` and `render`.
_MOVIEPY = "medium crf 23"
_CRFS = {
    "ultrafast": (17, 18),
    "superfast": (19, 20, 21, 22),
    "veryfast": (16, 17, 18, 19, 20),
    "medium": (23,),
}

Found = dict[str, dict[str, float]]  # by setting: cpu_s, size_bytes, vmaf_…


def run(options: Options) -> Report:
    found = {name: _measure(_part(video)) for name, video in options.videos().items()}
    rows = [_row(setting, found) for setting in next(iter(found.values()))]
    rows.sort(key=lambda row: row[1])
    columns = ("setting", "CPU", "size", *(f"VMAF {name}" for name in found), "VMAF, least above MoviePy's")
    _plot(options.plots, rows)
    title = f"x264 settings on {_SECONDS} s of each source; CPU and size are means of ratios to {_MOVIEPY}"
    return Report([Table(title, columns, rows)], figures={"found": found})


def _part(video: Path) -> PartEdit:
    parts = edits(video, Profile(), _SECONDS)
    return parts[len(parts) // 2]


def _measure(edit: PartEdit) -> Found:
    found = {}
    with tempfile.TemporaryDirectory(prefix="idrl-bench-") as folder:
        output = Path(folder) / "clip.mp4"
        for preset, crfs in _CRFS.items():
            for crf in crfs:
                tried = replace(edit, profile=Profile(preset, crf, 1))
                usage = measure(lambda tried=tried: by_hand(tried, output))  # type: ignore[misc] # binds the edit
                quality = vmaf(output, tried, _VMAF_EVERY).sample()
                size_bytes = float(output.stat().st_size)
                found[f"{preset} crf {crf}"] = usage.sample() | quality | {"size_bytes": size_bytes}
                print(f"{edit.source_path.name}: {preset} crf {crf} done", file=sys.stderr)
    return found


def _row(setting: str, found: dict[str, Found]) -> tuple[Any, ...]:
    """Return the mean cost of a setting over all sources, and its quality on each."""
    pairs = [(settings[setting], settings[_MOVIEPY]) for settings in found.values()]
    cpu, size = (mean(mine[name] / theirs[name] for mine, theirs in pairs) for name in ("cpu_s", "size_bytes"))
    above = min(mine["vmaf_mean"] - theirs["vmaf_mean"] for mine, theirs in pairs)
    return (setting, cpu, size, *(mine["vmaf_mean"] for mine, _ in pairs), above)


def _plot(folder: Path, rows: list[tuple[Any, ...]]) -> None:
    for name, place, unit in (("profile-cpu", 1, "processor time"), ("profile-size", 2, "size")):
        groups: dict[str, dict[str, tuple[float, float]]] = {}
        for row in sorted(rows):
            preset, _, crf = row[0].partition(" ")
            groups.setdefault(preset, {})[crf] = (row[place], row[-1])
        axes = (f"{unit}, for 1 of {_MOVIEPY}", f"VMAF above {_MOVIEPY}, worst source")
        plots.scatter(folder, name, f"Quality against {unit}", axes, groups, scale="x")
