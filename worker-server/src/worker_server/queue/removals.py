"""Removals: which files of a task must go.

They are written in the transaction that makes files unneeded, and retried until done.

A task that is being canceled becomes `canceled`, with its receipt, only when nothing of it is left.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update

from worker_server.db import retry_outages, transaction, transaction_within
from worker_server.models import Part, Removal, Task
from worker_server.models.statuses import LIVE_TASKS, PartStatus, TaskStatus
from worker_server.queue import totals
from worker_server.queue.events import EventKind, record_each
from worker_server.queue.sql_common import ScopedSession, Where, lease_cleared, seconds_from_now
from worker_server.queue.statements import load

_MAX_PAUSE_S = 60
_LOCK_WAIT_S = 1.0
_REQUEST_REMOVALS = load("request_removals")


@dataclass(frozen=True)
class RemovalJob:
    """What may be removed now: everything of the task but the files named in `kept`.

    `requested_at` identifies the request; None where files are removed without one.
    """

    task_id: uuid.UUID
    kept: frozenset[str]
    requested_at: datetime | None = None


def request(session: ScopedSession, task_id: uuid.UUID) -> None:
    """Request the removal of the task's unneeded files, within the caller's transaction."""
    request_each(session, [task_id])


def request_each(session: ScopedSession, task_ids: Sequence[uuid.UUID]) -> None:
    """Request removals for several tasks, in one statement."""
    # Sorted: two requests for the same tasks in different orders would deadlock.
    names = [str(task_id) for task_id in sorted(task_ids)]
    # SQL text: SQLAlchemy compiles an upsert each time, which takes longer than executing it.
    session.execute(_REQUEST_REMOVALS, {"task_ids": names})


def due_removals(limit: int) -> list[uuid.UUID]:
    """Return tasks whose files are to be removed now, those that wait longest first."""
    due = select(Removal.task_id).where(Removal.run_after <= func.now())
    with transaction() as session:
        return list(session.scalars(due.order_by(Removal.run_after).limit(limit)))


def request_for(task_ids: Collection[uuid.UUID]) -> None:
    """Request removals for these task ids, also unknown ones, in a transaction of its own."""
    if not task_ids:
        return
    with transaction() as session:
        request_each(session, list(task_ids))


def canceling_without_removal() -> list[uuid.UUID]:
    """Return tasks canceled without a removal, as a restore or an older release leaves them."""
    missing = ~exists().where(Removal.task_id == Task.id)
    with transaction() as session:
        statement = select(Task.id).where(Task.status == TaskStatus.CANCELING, missing)
        return list(session.scalars(statement))


def begin(task_id: uuid.UUID) -> RemovalJob | None:
    """Return what may be removed of the task; None while it is leased or is to be worked on."""
    with transaction() as session:
        # Read before the status: a removal requested after a change of status is then newer.
        requested = select(Removal.requested_at).where(Removal.task_id == task_id)
        requested_at = session.scalar(requested)
        status = session.scalar(select(Task.status).where(Task.id == task_id))
        if status == TaskStatus.CANCELING:
            if not session.scalar(select(exists().where(_is_leased(task_id)))):
                return RemovalJob(task_id, frozenset(), requested_at)
            postponement = update(Removal).where(Removal.task_id == task_id)
            session.execute(postponement.values(run_after=seconds_from_now(1)))
            return None
        if status in LIVE_TASKS:  # retried since: its end will request the removal again
            # Keep a request made by the task's end after the status was read.
            is_request = _is_request_of(RemovalJob(task_id, frozenset(), requested_at))
            session.execute(delete(Removal).where(*is_request))
            return None
        clips = select(Part.path).where(Part.task_id == task_id, Part.status == PartStatus.DONE)
        paths = [PurePath(path) for path in session.scalars(clips) if path]
        kept = {name for path in paths for name in (path.name, path.with_suffix(".jpg").name)}
        return RemovalJob(task_id, frozenset(kept), requested_at)


@retry_outages
def finish(job: RemovalJob, freed_bytes: int) -> None:
    """Record that the files are gone: the removal is done, `canceling` becomes `canceled`.

    A request that was made after the job began stays, to be carried out next. Raise RowLocked.
    """
    with transaction_within(_LOCK_WAIT_S) as session:
        task = select(Task.status).where(Task.id == job.task_id).with_for_update()
        status = session.scalar(task)
        gone = delete(Removal).where(*_is_request_of(job)).returning(Removal.freed_bytes)
        freed_bytes += session.scalar(gone) or 0
        is_requested = exists().where(Removal.task_id == job.task_id)
        if status == TaskStatus.CANCELING and not session.scalar(select(is_requested)):
            finish_cancels(session, [job.task_id], freed_bytes)


def postpone(job: RemovalJob, freed_bytes: int) -> None:
    """Record that some files could not be removed: the removal is retried with backoff."""
    pause = func.least(_MAX_PAUSE_S, func.power(2, func.least(Removal.tries, 10)))
    values = {
        "tries": Removal.tries + 1,
        "run_after": seconds_from_now(pause),
        "freed_bytes": Removal.freed_bytes + freed_bytes,
    }
    with transaction() as session:
        session.execute(update(Removal).where(*_is_request_of(job)).values(values))


def _is_request_of(job: RemovalJob) -> Where:
    return (Removal.task_id == job.task_id, Removal.requested_at == job.requested_at)


def finish_cancels(session: ScopedSession, task_ids: Sequence[uuid.UUID], freed_bytes: int) -> None:
    """Make the tasks `canceled`, with `freed_bytes` as the receipt of each, and delete their parts.

    The caller has locked them.
    """
    elapsed_s = func.extract("epoch", func.clock_timestamp() - Task.cancel_requested_at)
    values = {
        "status": TaskStatus.CANCELED,
        # Less than 0 where the clock was set back meanwhile.
        "canceled_in_ms": func.greatest(0, func.least(elapsed_s * 1000, 2**31 - 1)),
        "freed_bytes": freed_bytes,
        "finished_at": func.now(),
        **lease_cleared(),
    }
    session.execute(update(Task).where(Task.id.in_(task_ids)).values(values))
    session.execute(delete(Part).where(Part.task_id.in_(task_ids)))
    record_each(session, task_ids, EventKind.TASK_CANCELED)
    totals.add_ended(session, TaskStatus.CANCELED, tasks=len(task_ids))


def _is_leased(task_id: uuid.UUID) -> ColumnElement[bool]:
    """Return whether a worker has a lease on the task or on a part of it."""
    part = exists().where(
        Part.task_id == task_id,
        Part.status == PartStatus.RENDERING,
        Part.lease_until >= func.now(),
    )
    return (Task.id == task_id) & or_(Task.lease_until >= func.now(), part)
