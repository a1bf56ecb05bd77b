"""Counters and histograms of all machines together, as rows in PostgreSQL: they survive restarts.

What happened is added in the transaction that records it, as a row of its own, so that no two
transactions wait for the same total. The sweeper folds those rows into the totals (decision
0047).
"""

import logging
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    SQLColumnExpression,
    exists,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.exc import SQLAlchemyError

from worker_server.db import transaction
from worker_server.errors import FailureCode
from worker_server.models import MetricIncrement, Part, Task, TaskEvent
from worker_server.models.statuses import PartStatus, TaskStatus
from worker_server.queue.claims import PartLease
from worker_server.queue.events import EventKind
from worker_server.queue.sql_common import ScopedSession

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TotalMetric:
    """A counter, or a histogram where there are buckets (upper bounds, in the metric's unit)."""

    name: str
    help_text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    # Label values exported as 0 from the start: Prometheus would miss the first increase
    # otherwise.
    initial: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Total:
    """How many additions a sample has had, and their sum; `bucket` counts from 0."""

    bucket: int
    count: int
    amount: float


TASKS = TotalMetric(
    "idrl_tasks_total",
    "Tasks that have ended.",
    ("status", "code"),
    initial=(
        *((status, "") for status in (TaskStatus.DONE, TaskStatus.CANCELED)),
        *((TaskStatus.FAILED, code) for code in FailureCode),
    ),
)
PARTS = TotalMetric(
    "idrl_parts_total", "Parts that have ended.", ("status", "rendered_by", "quality")
)
RETRIES = TotalMetric(
    "idrl_retries_total",
    "Attempts that failed and are to be repeated.",
    ("code",),
    initial=tuple((code,) for code in FailureCode),
)
LEASES_EXPIRED = TotalMetric(
    "idrl_leases_expired_total", "Leases of lost workers that were reclaimed.", initial=((),)
)
PREEMPTIONS = TotalMetric(
    "idrl_preemptions_total", "Work returned to the queue in favour of other work.", initial=((),)
)
BYTES = TotalMetric(
    "idrl_bytes_total",
    "Bytes of sources downloaded (in) and of clips served (out).",
    ("direction",),
    initial=(("in",), ("out",)),
)
WEBHOOK_ATTEMPTS = TotalMetric(
    "idrl_webhook_attempts_total",
    "Attempts to deliver an event: accepted by the receiver, to be retried, or given up.",
    ("outcome",),
    initial=(("delivered",), ("repeated",), ("given_up",)),
)
FIRST_PART_WAIT = TotalMetric(
    "idrl_first_part_wait_seconds",
    "From the acceptance of a task, or the start of a planned one, to its first clip.",
    buckets=(1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600),
)
RENDER_SPEED = TotalMetric(
    "idrl_render_speed_ratio",
    "Seconds of video made for each second, from the claim of a part to its publication.",
    ("rendered_by",),
    (0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 12, 20, 50, 100),
)
ALL = (
    TASKS,
    PARTS,
    RETRIES,
    LEASES_EXPIRED,
    PREEMPTIONS,
    BYTES,
    WEBHOOK_ATTEMPTS,
    FIRST_PART_WAIT,
    RENDER_SPEED,
)
_DEFAULT_QUALITY = "balanced"

_FOLD = text("""
    WITH folded AS (
        DELETE FROM metric_increments
        WHERE id IN (SELECT id FROM metric_increments ORDER BY id LIMIT :limit)
        RETURNING metric, labels, bucket, amount
    ), added AS (
        INSERT INTO metric_totals AS total (metric, labels, bucket, count, amount)
        SELECT metric, labels, bucket, count(*), sum(amount) FROM folded GROUP BY 1, 2, 3
        ON CONFLICT (metric, labels, bucket) DO UPDATE
            SET count = total.count + excluded.count, amount = total.amount + excluded.amount
    )
    SELECT count(*) FROM folded
""")
# After days without a sweeper all at once would exceed the statement timeout.
_BATCH_SIZE = 50_000
_READ = text("""
    SELECT metric, labels, bucket, sum(count)::bigint AS count, sum(amount)::float8 AS amount FROM (
        SELECT metric, labels, bucket, count, amount FROM metric_totals
        UNION ALL SELECT metric, labels, bucket, 1, amount FROM metric_increments
    ) AS samples GROUP BY 1, 2, 3
""")
Increment = tuple[TotalMetric, Sequence[str], float]


def add(session: ScopedSession, *increments: Increment) -> None:
    """Add to totals within the caller's transaction: a metric, its labels' values, an amount."""
    rows = [
        {
            "metric": metric.name,
            "labels": list(labels),
            "bucket": bisect_left(metric.buckets, amount),
            "amount": amount,
        }
        for metric, labels, amount in increments
    ]
    session.execute(insert(MetricIncrement), rows)


def add_ended(session: ScopedSession, status: str, code: str | None = None, tasks: int = 1) -> None:
    """Count tasks that end together."""
    add(session, *[(TASKS, (status, code or ""), 1)] * tasks)


def add_failed_part(session: ScopedSession, lease: PartLease) -> None:
    """Count a part that fails."""
    quality = session.scalars(select(_quality()).where(Task.id == lease.task_id)).one()
    add(session, (PARTS, (PartStatus.FAILED, "", quality), 1))


def add_finished_part(session: ScopedSession, lease: PartLease, rendered_by: str) -> None:
    """Count a part that is done, with its speed, and the wait if it is its task's first clip."""
    part = session.execute(_figures_of(lease)).one()
    increments: list[Increment] = [(PARTS, (PartStatus.DONE, rendered_by, part.quality), 1)]
    if part.took_s:
        speed = part.video_s / float(part.took_s)
        increments.append((RENDER_SPEED, (rendered_by,), speed))
    if part.is_first:
        increments.append((FIRST_PART_WAIT, (), float(part.waited_s)))
    add(session, *increments)


def add_bytes(direction: str, amount: int) -> bool:
    """Count bytes `in` or `out` in a transaction of its own; False if the database is down."""
    try:
        with transaction() as session:
            add(session, (BYTES, (direction,), amount))
    except SQLAlchemyError as error:
        _log.warning("bytes not counted: %s", type(error).__name__, extra={"direction": direction})
        return False
    return True


def read() -> dict[str, dict[tuple[str, ...], list[Total]]]:
    """Return each metric's samples by the values of their labels."""
    totals: dict[str, dict[tuple[str, ...], list[Total]]] = {metric.name: {} for metric in ALL}
    with transaction() as session:
        for metric, labels, bucket, count, amount in session.execute(_READ):
            of_metric = totals.setdefault(metric, {})
            of_metric.setdefault(tuple(labels), []).append(Total(bucket, count, amount))
    return totals


def fold() -> None:
    """Fold the increments into the totals."""
    folded = _BATCH_SIZE
    while folded == _BATCH_SIZE:
        with transaction() as session:
            folded = session.scalar(_FOLD, {"limit": _BATCH_SIZE}) or 0


def _figures_of(lease: PartLease) -> Select[Any]:
    """Return the part's length, how long its attempt took, and its task's wait, in seconds."""
    of_task = TaskEvent.task_id == lease.task_id
    claimed_at = select(TaskEvent.at).where(
        of_task,
        TaskEvent.kind == EventKind.CLAIMED,
        TaskEvent.part == lease.number,
        TaskEvent.attempt == lease.attempt,
    )
    others = exists().where(
        Part.task_id == lease.task_id,
        Part.number != lease.number,
        Part.status == PartStatus.DONE,
    )
    # After a caller's retry the wait is not measured: it includes the time before the retry.
    is_retry = exists().where(of_task, TaskEvent.kind == EventKind.RETRY_REQUESTED)
    return select(
        (Part.end_s - Part.start_s).label("video_s"),
        _seconds_since(claimed_at.limit(1).scalar_subquery()).label("took_s"),
        _seconds_since(func.coalesce(Task.start_requested_at, Task.created_at)).label("waited_s"),
        (~others & ~is_retry).label("is_first"),
        _quality().label("quality"),
    ).where(Part.task_id == lease.task_id, Part.number == lease.number, Task.id == Part.task_id)


def _quality() -> ColumnElement[str]:
    """Return a task's quality; the default where its edit names none or is null (0.1.0)."""
    return func.coalesce(Task.edit["quality"].astext, _DEFAULT_QUALITY)


def _seconds_since(at: SQLColumnExpression[Any]) -> ColumnElement[Any]:
    """Return the seconds since then; 0 where the clock was set back meanwhile."""
    return func.greatest(func.extract("epoch", func.clock_timestamp() - at), 0)
