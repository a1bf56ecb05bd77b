"""The events of a task, written with the change they record and shown to its owner."""

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, exists, func, insert, literal, or_, select, text
from sqlalchemy.exc import SQLAlchemyError

from worker_server.db import transaction
from worker_server.models import Part, Task, TaskEvent
from worker_server.queue.claims import Lease, PartLease
from worker_server.queue.sql_common import ScopedSession
from worker_server.queue.statements import load

_log = logging.getLogger(__name__)
# Events kept for one task: attempts that do not count can be repeated for days.
MAX_EVENTS = 1000
_SAME_MACHINE_S = 120
# The columns of an `Event`.
_COLUMNS = (
    TaskEvent.position, TaskEvent.at, TaskEvent.kind, TaskEvent.part, TaskEvent.attempt,
    TaskEvent.worker, TaskEvent.code,
)  # fmt: skip
_POSITION_EVENTS = load("position_events")
_TRIM_EVENTS = load("trim_events")
_LOCK_POSITIONS = text(
    "SELECT pg_advisory_xact_lock(hashtextextended('events of ' || CAST(:task_id AS text), 0))"
)


class EventKind(StrEnum):
    """What happened."""

    ACCEPTED = "accepted"
    CLAIMED = "claimed"
    FETCHED = "fetched"
    PLANNED = "planned"
    EDIT_CHANGED = "edit_changed"
    START_REQUESTED = "start_requested"
    RETRIED = "retried"
    RELEASED = "released"
    PREEMPTED = "preempted"
    LEASE_LOST = "lease_lost"
    PART_DONE = "part_done"
    PART_FAILED = "part_failed"
    TASK_DONE = "task_done"
    TASK_FAILED = "task_failed"
    CANCEL_REQUESTED = "cancel_requested"
    TASK_CANCELED = "task_canceled"
    RETRY_REQUESTED = "retry_requested"
    CLIP_LOST = "clip_lost"


@dataclass(frozen=True)
class Event:
    """One event as its task's owner sees it; `worker` is a host and a pid."""

    id: int
    at: datetime
    kind: str
    part: int | None
    attempt: int | None
    worker: str | None
    code: str | None


def record(
    session: ScopedSession, task_id: uuid.UUID, kind: EventKind, code: str | None = None
) -> None:
    """Write an event of the task within the caller's transaction."""
    record_each(session, [task_id], kind, code)


def record_each(
    session: ScopedSession,
    task_ids: Sequence[uuid.UUID],
    kind: EventKind,
    code: str | None = None,
) -> None:
    """Write the same event of several tasks, in one statement."""
    rows = [{"task_id": task_id, "kind": kind, "code": code} for task_id in task_ids]
    session.execute(insert(TaskEvent), rows)


def record_attempt(
    session: ScopedSession, lease: Lease, kind: EventKind, code: str | None = None
) -> None:
    """Write an event of the attempt, with the row's worker, before the lease is cleared.

    Nothing is written where another worker has claimed the row since.
    """
    row = Part if isinstance(lease, PartLease) else Task
    of_task = Part.task_id if isinstance(lease, PartLease) else Task.id
    where = (of_task == lease.task_id) & (row.attempt == lease.attempt)
    if isinstance(lease, PartLease):
        where &= Part.number == lease.number
    columns = ["task_id", "kind", "part", "attempt", "worker", "code"]
    values = select(
        of_task,
        literal(kind),
        literal(lease.number),
        literal(lease.attempt),
        row.lease_owner,
        literal(code),
    ).where(where)
    session.execute(insert(TaskEvent).from_select(columns, values))


def record_progress(lease: Lease, kind: EventKind) -> None:
    """Write an event of the attempt in its own transaction; the work continues if that fails."""
    try:
        with transaction() as session:
            record_attempt(session, lease, kind)
    except SQLAlchemyError as error:
        _log.warning("event not recorded: %s", type(error).__name__, extra={"kind": kind})


def list_events(owner_id: int, task_id: uuid.UUID, after: int, limit: int) -> list[Event] | None:
    """Return the task's events with an id above `after`, oldest first.

    None when the owner has no such task. What callers see as an event's id is its position, which
    this call assigns: ids are taken by INSERT, but transactions may commit in another order.
    """
    with transaction() as session:
        owned = select(Task.created_at).where(Task.id == task_id, Task.owner_id == owner_id)
        accepted_at = session.scalar(owned)
        if accepted_at is None:
            return None
        # The first event is derived from the task's row, which saves an INSERT per accepted task.
        first = [] if after >= 0 else [Event(0, accepted_at, EventKind.ACCEPTED, *[None] * 4)]
        return [*first, *_positioned(session, task_id, after, limit)][:limit]


def _positioned(
    session: ScopedSession, task_id: uuid.UUID, after: int, limit: int
) -> Sequence[Event]:
    rows = _events_after(session, task_id, after, limit)
    if any(row.position is None for row in rows):
        session.execute(_LOCK_POSITIONS, {"task_id": task_id})
        session.execute(_POSITION_EVENTS, {"task_id": task_id})
        rows = _events_after(session, task_id, after, limit)
    # Those inserted meanwhile, or being deleted just now, have no position yet.
    return [Event(*row) for row in rows if row.position is not None]


def _events_after(
    session: ScopedSession, task_id: uuid.UUID, after: int, limit: int
) -> Sequence[Row[Any]]:
    """Return events with a position above `after`, then those that have none; oldest first."""
    is_new = or_(TaskEvent.position > after, TaskEvent.position.is_(None))
    of_task = select(*_COLUMNS).where(TaskEvent.task_id == task_id, is_new)
    return session.execute(of_task.order_by(TaskEvent.position, TaskEvent.id).limit(limit)).all()


def trim_events() -> None:
    """Remove what is beyond MAX_EVENTS of any live task, oldest first.

    Events of a task that is being deleted are left to the deletion.
    """
    with transaction() as session:
        session.execute(_TRIM_EVENTS, {"kept": MAX_EVENTS})


def machine_lost_other_work(host: str, lease: Lease) -> bool:
    """Return whether the machine lost the lease of another task or part shortly before."""
    since = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, _SAME_MACHINE_S)
    other = (TaskEvent.task_id != lease.task_id) | TaskEvent.part.is_distinct_from(lease.number)
    where = (
        TaskEvent.kind == EventKind.LEASE_LOST,
        TaskEvent.at > since,
        func.split_part(TaskEvent.worker, ":", 1) == host,
        other,
    )
    with transaction() as session:
        return bool(session.scalar(select(exists().where(*where))))
