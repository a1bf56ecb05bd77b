"""Every change of status a worker makes: one guarded step under a lease and its attempt.

A claim raises the row's `attempt`; each later write names that attempt and the worker, so a worker
that lost the row (asleep, cut off, slow) writes nothing. Only the database's clock counts. A task's
row is locked before its parts' rows.
"""

import uuid
from collections.abc import Sequence
from datetime import UTC
from typing import Any

from sqlalchemy import exists, func, null, select, update

from worker_server.db import (
    retry_outages,
    transaction,
    transaction_within,
    transaction_without_flush,
)
from worker_server.errors import WorkFailed
from worker_server.models import Part, Task
from worker_server.models.statuses import IN_PROGRESS, PartStatus, TaskStatus
from worker_server.queue import parts as planned_parts, planning, removals, totals, usage
from worker_server.queue.claims import Lease, PartLease, TaskLease
from worker_server.queue.events import EventKind, record, record_attempt
from worker_server.queue.parts import Clip, PlannedPart
from worker_server.queue.quotas import Quotas, check_planned_source, spend_source_seconds
from worker_server.queue.retry_policy import History, RetryLimits, pause_s, waits_for_source
from worker_server.queue.sql_common import (
    ScopedSession,
    Values,
    Where,
    error_cleared,
    lease_cleared,
    seconds_from_now,
)
from worker_server.queue.task_completion import close_if_finished

_NO_QUOTAS = Quotas()
_LOCK_WAIT_S = 1.0
_BEFORE_PLANNING = select(
    Task.owner_id,
    Task.planned_s,
    # Planned by an older release, which has counted it already.
    (Task.source.is_not(None) & Task.planned_s.is_(None)).label("is_uncounted"),
    (Task.starts_manually & Task.start_requested_at.is_(None)).label("waits"),
    Task.source_path.is_(None).label("is_first"),
)


def renew(lease: Lease, lease_s: float, progress: int) -> TaskStatus | None:
    """Renew the lease, write the progress and return the task's status.

    None when another worker has the lease.

    A lease that ran out but was not claimed is renewed, so an outage of the database costs no work.
    """
    until = seconds_from_now(lease_s)
    values = {"lease_until": until, "progress": progress, "updated_at": func.now()}
    with transaction_without_flush() as session:
        if isinstance(lease, TaskLease):
            statement = update(Task).where(*_is_leased(lease)).values(values).returning(Task.status)
            return _status(session.scalar(statement))
        of_task = update(Part).where(*_is_leased(lease), Task.id == Part.task_id).values(values)
        return _status(session.scalar(of_task.returning(Task.status)))


def leased_task_status(lease: Lease) -> TaskStatus | None:
    """Return the task's status without renewing; None when the lease is not this worker's."""
    where = _is_leased(lease)
    if isinstance(lease, PartLease):
        where = (*where, Task.id == Part.task_id)
    with transaction() as session:
        return _status(session.scalar(select(Task.status).where(*where)))


@retry_outages
def begin_processing(
    lease: TaskLease,
    source: dict[str, Any],
    source_path: str,
    parts: Sequence[PlannedPart],
    quotas: Quotas = _NO_QUOTAS,
) -> bool:
    """Store the source's facts and the parts, and end the task's lease.

    False: the lease is lost or canceled.

    Parts that an earlier fetch planned alike keep their clips: after a retry only the others are
    rendered, and nothing is counted towards a quota again. A task that waits for its caller becomes
    `planned`. Raise WorkFailed where its seconds exceed what is left of the account's day, or the
    source of a planned task, which is kept, exceeds the quota of bytes.
    """
    where = (*_is_leased(lease), Task.status == TaskStatus.DOWNLOADING)
    with transaction() as session:
        locked = _BEFORE_PLANNING.where(*where).with_for_update(of=Task, key_share=True)
        task = session.execute(locked).one_or_none()
        if task is None:
            return _has_begun(session, lease, source_path)
        record_attempt(session, lease, EventKind.PLANNED)
        seconds = sum(part.end_s - part.start_s for part in parts)
        counted_s = seconds if task.is_uncounted else task.planned_s or 0
        values: Values = {
            "source": source,
            "source_path": source_path,
            "waiting_since": None,
            "planned_s": max(seconds, counted_s),
            **planning.planned_values(waits=task.waits),
            **error_cleared(),
            **lease_cleared(),
        }
        session.execute(update(Task).where(*where).values(values))
        run_after = planning.NEVER if task.waits else func.now()
        planned_parts.store(session, lease.task_id, task.owner_id, parts, run_after)
        if seconds > counted_s:
            spend_source_seconds(session, task.owner_id, seconds - counted_s, quotas)
        if task.waits and task.is_first:
            check_planned_source(session, task.owner_id, quotas)
        close_if_finished(session, lease.task_id)
        return True


@retry_outages
def finish_part(lease: PartLease, clip: Clip) -> bool:
    """Make the part `done`, and end the task with its last part.

    False: too late, the caller removes the clip.
    """
    values = {
        "status": PartStatus.DONE,
        **vars(clip),
        "progress": 100,
        "finished_at": func.now(),
        **error_cleared(),
        **lease_cleared(),
    }
    with transaction() as session:
        if lock_task(session, lease.task_id) != TaskStatus.PROCESSING:
            return _has_finished(session, lease, clip)
        record_attempt(session, lease, EventKind.PART_DONE)
        statement = update(Part).where(*_is_leased(lease)).values(values).returning(Part.number)
        if session.scalar(statement) is None:
            session.rollback()
            return _has_finished(session, lease, clip)
        usage.add_rendered(session, lease.task_id, lease.number)
        totals.add_finished_part(session, lease, clip.rendered_by)
        close_if_finished(session, lease.task_id)
        return True


@retry_outages
def fail(
    lease: Lease, failure: WorkFailed, limits: RetryLimits, *, expired_only: bool = False
) -> bool:
    """Record that the attempt failed: another one follows later, or the work fails for good.

    With `expired_only` nothing happens unless the lease has run out; for callers other than its
    holder, who do not wait for locked rows: raise RowLocked. Return whether the lease was still the
    one named, so whether anything was written.
    """
    with transaction_within(_LOCK_WAIT_S) if expired_only else transaction() as session:
        status = lock_task(session, lease.task_id)
        history = _history(session, lease, failure, expired_only=expired_only)
        if history is None:
            return False
        if expired_only:
            record_attempt(session, lease, EventKind.LEASE_LOST)
            totals.add(session, (totals.LEASES_EXPIRED, (), 1))
        pause = pause_s(lease, failure, history, limits)
        if status not in IN_PROGRESS:
            _requeue(session, lease, status)
        elif pause is not None:
            _schedule_retry(session, lease, failure, history.failures, pause)
        else:
            _give_up(session, lease, failure, history.failures)
        return True


@retry_outages
def release(lease: Lease) -> None:
    """Return the work to the queue without counting a failure: the next claim starts over.

    Nothing happens where the lease is lost, or the task has ended.
    """
    with transaction() as session:
        status = lock_task(session, lease.task_id)
        if session.scalar(select(exists().where(*_is_leased(lease)))):
            record_attempt(session, lease, EventKind.RELEASED)
            _requeue(session, lease, status)


def lock_task(session: ScopedSession, task_id: uuid.UUID) -> TaskStatus | None:
    """Lock the task's row until the transaction ends; return its status, None without a task.

    FOR NO KEY UPDATE: other transactions may still insert rows that refer to the task, such as a
    preemption's event; they hold the lock on a part, so waiting for the task could deadlock.
    """
    row = select(Task.status).where(Task.id == task_id)
    return _status(session.scalar(row.with_for_update(key_share=True)))


def _history(
    session: ScopedSession, lease: Lease, failure: WorkFailed, *, expired_only: bool
) -> History | None:
    """Return what the row knows of earlier attempts; None when another worker has the lease."""
    model, where = _model(lease), _is_leased(lease)
    if expired_only:
        where = (*where, model.lease_until < func.now())
    since = Task.waiting_since if isinstance(lease, TaskLease) else null()
    columns = select(model.failures, since.label("waiting_since"), func.now().label("now"))
    row = session.execute(columns.where(*where).with_for_update(key_share=True)).one_or_none()
    if row is None:
        return None
    return History(row.failures + failure.counted, row.waiting_since, row.now.astimezone(UTC))


def _requeue(session: ScopedSession, lease: Lease, task_status: TaskStatus | None) -> None:
    values: Values = {"progress": 0, **error_cleared(), **lease_cleared()}
    if isinstance(lease, PartLease):
        is_live = task_status in (TaskStatus.PROCESSING, TaskStatus.CANCELING)
        values["status"] = PartStatus.WAITING if is_live else PartStatus.FAILED
    elif task_status == TaskStatus.DOWNLOADING:
        values["status"] = TaskStatus.QUEUED
    session.execute(update(_model(lease)).where(*_is_leased(lease)).values(values))


def _schedule_retry(
    session: ScopedSession, lease: Lease, failure: WorkFailed, failures: int, pause: float
) -> None:
    is_task = isinstance(lease, TaskLease)
    values: Values = {
        "status": TaskStatus.QUEUED if is_task else PartStatus.WAITING,
        "failures": failures,
        "progress": 0,
        "run_after": seconds_from_now(pause),
        **_error_columns(failure),
    }
    if is_task:
        since = func.coalesce(Task.waiting_since, func.now())
        values["waiting_since"] = since if waits_for_source(lease, failure) else None
    record_attempt(session, lease, EventKind.RETRIED, failure.code)
    totals.add(session, (totals.RETRIES, (failure.code,), 1))
    statement = update(_model(lease)).where(*_is_leased(lease))
    session.execute(statement.values({**values, **lease_cleared()}))


def _give_up(session: ScopedSession, lease: Lease, failure: WorkFailed, failures: int) -> None:
    is_task = isinstance(lease, TaskLease)
    values = {
        "status": TaskStatus.FAILED if is_task else PartStatus.FAILED,
        "failures": failures,
        "finished_at": func.now(),
        **_error_columns(failure),
        **lease_cleared(),
    }
    if isinstance(lease, PartLease):
        record_attempt(session, lease, EventKind.PART_FAILED, failure.code)
        totals.add_failed_part(session, lease)
    session.execute(update(_model(lease)).where(*_is_leased(lease)).values(values))
    if is_task:
        record(session, lease.task_id, EventKind.TASK_FAILED, failure.code)
        totals.add_ended(session, TaskStatus.FAILED, failure.code)
        removals.request(session, lease.task_id)
    else:
        close_if_finished(session, lease.task_id)


def _model(lease: Lease) -> type[Task] | type[Part]:
    return Task if isinstance(lease, TaskLease) else Part


def _is_leased(lease: Lease) -> Where:
    """Return what identifies the row while the lease is still this worker's."""
    model = _model(lease)
    owned: Where = (model.attempt == lease.attempt,)
    if lease.worker is not None:
        owned = (*owned, model.lease_owner == lease.worker)
    if isinstance(lease, TaskLease):
        return (*owned, Task.id == lease.task_id, Task.lease_until.is_not(None))
    row = (Part.task_id == lease.task_id, Part.number == lease.number)
    return (*owned, *row, Part.status == PartStatus.RENDERING)


def _error_columns(failure: WorkFailed) -> Values:
    return {"error_code": failure.code, "error_message": failure.message}


def _has_begun(session: ScopedSession, lease: TaskLease, source_path: str) -> bool:
    """Return whether this very step was committed before and only its answer was lost."""
    where = (
        Task.id == lease.task_id,
        Task.status.in_((TaskStatus.PLANNED, TaskStatus.PROCESSING)),
        Task.source_path == source_path,
    )
    return bool(session.scalar(select(exists().where(*where))))


def _has_finished(session: ScopedSession, lease: PartLease, clip: Clip) -> bool:
    """Return whether this very step was committed before and only its answer was lost."""
    where = (
        Part.task_id == lease.task_id,
        Part.number == lease.number,
        Part.path == clip.path,
        Part.status == PartStatus.DONE,
    )
    return bool(session.scalar(select(exists().where(*where))))


def _status(value: str | None) -> TaskStatus | None:
    return None if value is None else TaskStatus(value)
