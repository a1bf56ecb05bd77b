"""Evaluates the results of a run against limits; JMeter itself always exits with 0."""

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

# Bands of users in the table of a ramp: enough to see saturation, few enough to fill each.
_BANDS = 8
# The thread group whose number of users grows. Accounts are made by another one, before it.
_RAMPED = "users"


@dataclass(frozen=True)
class Sample:
    """A line of the results."""

    label: str
    started_ms: int
    elapsed_ms: int
    group: str
    users: int
    success: bool
    failure: str
    is_transaction: bool

    @property
    def ended_ms(self) -> int:
        return self.started_ms + self.elapsed_ms


@dataclass(frozen=True)
class Limits:
    """The limits of a run."""

    error_pct: float
    p95_ms: float


@dataclass(frozen=True)
class Row:
    """Statistics of some samples: of a label, or of a band of users."""

    name: str
    count: int
    error_pct: float
    p50_ms: int
    p95_ms: int
    max_ms: int
    per_s: float
    over: bool


def read(results: Path) -> list[Sample]:
    """Return the lines of a JTL file (CSV with a header), in order."""
    with results.open(encoding="utf-8", newline="") as file:
        return [_sample(line) for line in csv.DictReader(file)]


def _sample(line: dict[str, str]) -> Sample:
    return Sample(
        label=line["label"],
        started_ms=int(line["timeStamp"]),
        elapsed_ms=int(line["elapsed"]),
        group=line["threadName"].rpartition(" ")[0],
        users=int(line["grpThreads"]),
        success=line["success"] == "true",
        failure=line["failureMessage"] or f"{line['responseCode']} {line['responseMessage']}",
        is_transaction=line["responseMessage"].startswith("Number of samples in transaction"),
    )


def by_label(samples: Iterable[Sample], limits: Limits) -> list[Row]:
    """Return a row for each label, in order of first samples; transactions have no time limit."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: sample.started_ms):
        groups[sample.label].append(sample)
    return [_row(label, group, limits) for label, group in groups.items()]


def by_users(samples: Iterable[Sample], limits: Limits) -> list[Row]:
    """Return a row for each band of concurrent users, fewest first, up to the end of the peak."""
    known = _until_the_peak_ends([sample for sample in samples if sample.group == _RAMPED])
    width = max(1, math.ceil(max((sample.users for sample in known), default=1) / _BANDS))
    groups: dict[int, list[Sample]] = defaultdict(list)
    for sample in known:
        groups[(max(sample.users, 1) - 1) // width].append(sample)
    return [_row(_band_label(band, width), groups[band], limits) for band in sorted(groups)]


def _until_the_peak_ends(samples: list[Sample]) -> list[Sample]:
    # A sample has the number of users at its end. While users leave, the load is not the ramp's.
    peak = max((sample.users for sample in samples), default=0)
    ended_ms = max((sample.ended_ms for sample in samples if sample.users == peak), default=0)
    return [sample for sample in samples if sample.ended_ms <= ended_ms]


def _band_label(band: int, width: int) -> str:
    first, last = band * width + 1, (band + 1) * width
    return f"{first} users" if first == last else f"{first}-{last} users"


def _row(name: str, group: list[Sample], limits: Limits) -> Row:
    times = sorted(sample.elapsed_ms for sample in group)
    error_pct = 100 * sum(not sample.success for sample in group) / len(group)
    p95_ms = percentile(times, 95)
    slow = p95_ms > limits.p95_ms and not group[0].is_transaction
    return Row(
        name=name,
        count=len(group),
        error_pct=error_pct,
        p50_ms=percentile(times, 50),
        p95_ms=p95_ms,
        max_ms=times[-1],
        per_s=len(group) / _lasted_s(group),
        over=error_pct > limits.error_pct or slow,
    )


def percentile(ordered: list[int], percent: int) -> int:
    """Return the nearest-rank percentile."""
    return ordered[math.ceil(percent / 100 * len(ordered)) - 1]


def _lasted_s(group: list[Sample]) -> float:
    started_ms = min(sample.started_ms for sample in group)
    ended_ms = max(sample.ended_ms for sample in group)
    return max(ended_ms - started_ms, 1) / 1000


def never_called(plan: Path, samples: Iterable[Sample]) -> list[str]:
    """Return a plan's calls without a sample: a failure before them must not pass."""
    seen = {sample.label for sample in samples}
    calls = ElementTree.parse(plan).iter("HTTPSamplerProxy")  # noqa: S314 # our own file
    return [name for call in calls if (name := call.get("testname", "")) not in seen]


def failures(samples: Iterable[Sample], at_most: int) -> Iterator[str]:
    """Yield the responses of the first failed calls."""
    failed = [sample for sample in samples if not sample.success and not sample.is_transaction]
    for sample in failed[:at_most]:
        yield f"{sample.label}: {' '.join(sample.failure.split())[:200]}"


def table(heading: str, rows: Iterable[Row]) -> str:
    """Format the rows as a table."""
    lines = [
        (
            f"{heading:18} {'count':>6} {'errors':>7} {'p50 ms':>7}"
            f" {'p95 ms':>7} {'max ms':>7} {'per s':>7}"
        )
    ]
    for row in rows:
        numbers = (
            f"{row.count:6} {row.error_pct:6.1f}% {row.p50_ms:7}"
            f" {row.p95_ms:7} {row.max_ms:7} {row.per_s:7.1f}"
        )
        lines.append(f"{row.name:18} {numbers}{'  OVER' if row.over else ''}")
    return "\n".join(lines)
