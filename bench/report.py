"""Results: tables for the terminal, one JSON file for each run."""

import datetime
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from imageio_ffmpeg import get_ffmpeg_exe

from bench.paired import Ratio

RESULTS = Path(__file__).with_name("results")
PLOTS = Path(__file__).parents[1] / "docs" / "performance"
_PACKAGES = (
    "av",
    "celery",
    "flask",
    "gunicorn",
    "imageio-ffmpeg",
    "moviepy",
    "psycopg2-binary",
    "redis",
    "sqlalchemy",
)


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers under one title."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float]]

    def text(self) -> str:
        """Return it as a Markdown table with aligned columns."""
        cells = [list(self.columns), *([_cell(value) for value in row] for row in self.rows)]
        widths = [max(3, *(len(row[place]) for row in cells)) for place in range(len(self.columns))]
        lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join([f"{self.title}\n", *lines])


@dataclass(frozen=True)
class Comparison:
    """One figure and its goal, if it has one."""

    name: str
    ratio: Ratio
    at_most: float | None = None
    at_least: float | None = None

    @property
    def is_reached(self) -> bool | None:
        """None where there is no goal."""
        if self.at_most is None and self.at_least is None:
            return None
        low = self.at_least if self.at_least is not None else 0.0
        high = self.at_most if self.at_most is not None else float("inf")
        return low <= self.ratio.median <= high


@dataclass(frozen=True)
class Report:
    """The results of one benchmark."""

    tables: Sequence[Table] = ()
    comparisons: Sequence[Comparison] = ()
    figures: dict[str, Any] = field(default_factory=dict)  # raw figures, as JSON

    def text(self) -> str:
        parts = [table.text() for table in self.tables]
        if self.comparisons:
            parts.append(_comparisons(self.comparisons).text())
        return "\n\n".join(parts) + "\n"

    def to_json(self) -> dict[str, Any]:
        ratios = [
            asdict(comparison) | {"reached": comparison.is_reached}
            for comparison in self.comparisons
        ]
        return {
            "tables": [asdict(table) for table in self.tables],
            "comparisons": ratios,
            "figures": self.figures,
        }


def write(reports: dict[str, Report], folder: Path, name: str) -> Path:
    """Write all results to `folder`/`name`.json with machine and versions; return the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    report = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "benchmarks": {key: report.to_json() for key, report in reports.items()},
    }
    path.write_text(json.dumps(_rounded(report), indent=1) + "\n")
    return path


def missed_goals(reports: dict[str, Report]) -> str:
    """Return one line for each goal that was missed, with the figure and the bound."""
    lines = [
        f"- {name}: {c.name}: {c.ratio.median:.3g}, {_bounds(c)}"
        for name, report in reports.items()
        for c in report.comparisons
        if c.is_reached is False
    ]
    return "\n".join(["Goals missed:", *lines]) if lines else "All goals reached."


def machine() -> dict[str, str | int]:
    """Describe the machine."""
    model = [
        line
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model[0].partition(":")[2].strip() if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_bytes / 1024**3),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    ffmpeg = subprocess.run(
        [get_ffmpeg_exe(), "-version"], capture_output=True, text=True, check=True
    ).stdout
    return {name: metadata.version(name) for name in _PACKAGES} | {"ffmpeg": ffmpeg.split()[2]}


def _comparisons(comparisons: Sequence[Comparison]) -> Table:
    rows = [
        (
            c.name,
            f"{c.ratio.median:.3f}",
            f"{c.ratio.low:.3f} … {c.ratio.high:.3f}",
            c.ratio.pairs,
            _goal(c),
        )
        for c in comparisons
    ]
    return Table(
        "Comparisons; ratios are of paired runs",
        ("what", "median", "spread", "pairs", "goal"),
        rows,
    )


def _goal(comparison: Comparison) -> str:
    if comparison.is_reached is None:
        return ""
    return f"{_bounds(comparison)}: {'reached' if comparison.is_reached else 'NOT reached'}"


def _bounds(comparison: Comparison) -> str:
    bounds = [f"≥ {comparison.at_least:g}"] if comparison.at_least is not None else []
    bounds += [f"≤ {comparison.at_most:g}"] if comparison.at_most is not None else []
    return ", ".join(bounds)


def _cell(value: str | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _rounded(value: Any) -> Any:  # noqa: ANN401 # JSON has no types
    """Five digits exceed the precision of the measurement and keep the files small."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list | tuple) else value
