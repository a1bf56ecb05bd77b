"""Every change of status that a worker makes: one guarded step under a lease and its attempt number.

A claim raises the row's `attempt`; each later write names that attempt, so a worker that lost the row (asleep, cut
off, slow) writes nothing. Only the database's clock counts. A task's row is locked before its parts' rows.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from flask_sqlalchemy.session import Session
from sqlalchemy import ColumnElement, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import scoped_session

from worker_server.db import persistently, transaction
from worker_server.errors import FailureCode, WorkFailed
from worker_server.models import Part, Task
from worker_server.queue.claims import Lease, PartLease, TaskLease
from worker_server.queue.statuses import WORKED_ON, PartStatus, TaskStatus

Where = tuple[ColumnElement[bool], ...]
Values = dict[str, Any]
ScopedSession = scoped_session[Session]


@dataclass(frozen=True)
class PlannedPart:
    """A part as planned: the frames `[start_frame, end_frame)` of the source's grid, and their times in seconds."""

    number: int
    start_frame: int
    end_frame: int
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Clip:
    """A published part; `path` is below the share."""

    path: str
    size_bytes: int
    sha256: str
    frames: int
    rendered_by: Literal["copy", "encode"]


def renew(lease: Lease, lease_s: float, progress: int) -> TaskStatus | None:
    """Renew the lease and write the progress; return the task's status, None when another worker has the lease.

    A lease that ran out but was not claimed is renewed, so an outage of the database costs no work.
    """
    until = seconds_from_now(lease_s)
    values = {"lease_until": until, "progress": progress, "updated_at": func.now()}
    with transaction() as session:
        if isinstance(lease, TaskLease):
            statement = update(Task).where(*_where(lease)).values(values).returning(Task.status)
            return _status(session.scalar(statement))
        of_task = update(Part).where(*_where(lease), Task.id == Part.task_id).values(values)
        return _status(session.scalar(of_task.returning(Task.status)))


@persistently
def begin_processing(
    lease: TaskLease, source: dict[str, Any], source_path: str, parts: Sequence[PlannedPart]
) -> bool:
    """Store the source's facts and the parts, and end the task's lease. False: the lease is lost or canceled."""
    values = {
        "status": TaskStatus.PROCESSING,
        "source": source,
        "source_path": source_path,
        **lease_cleared(),
    }
    where = (*_where(lease), Task.status == TaskStatus.DOWNLOADING)
    with transaction() as session:
        statement = update(Task).where(*where).values(values).returning(Task.owner_id)
        owner_id = session.scalar(statement)
        if owner_id is None:
            return _has_begun(session, lease, source_path)
        rows = [{"task_id": lease.task_id, "owner_id": owner_id, **vars(part)} for part in parts]
        session.execute(insert(Part), rows)
        return True


@persistently
def finish_part(lease: PartLease, clip: Clip) -> bool:
    """Make the part `done`, and the task with its last one. False: too late, the caller removes the clip."""
    values = {
        "status": PartStatus.DONE,
        **vars(clip),
        "progress": 100,
        "finished_at": func.now(),
        "error_code": None,
        "error_message": None,
        **lease_cleared(),
    }
    with transaction() as session:
        if lock_task(session, lease.task_id) != TaskStatus.PROCESSING:
            return _has_finished(session, lease, clip)
        statement = update(Part).where(*_where(lease)).values(values).returning(Part.number)
        if session.scalar(statement) is None:
            return _has_finished(session, lease, clip)
        _close_if_finished(session, lease.task_id)
        return True


@persistently
def fail(
    lease: Lease, failure: WorkFailed, max_attempts: int, *, expired_only: bool = False
) -> None:
    """Record that the attempt failed: another one follows after a while, or the work fails for good.

    With `expired_only` nothing happens unless the lease has run out; for callers other than its holder.
    """
    with transaction() as session:
        status = lock_task(session, lease.task_id)
        model, where = _model(lease), _where(lease)
        if expired_only:
            where = (*where, model.lease_until < func.now())
        failures = session.scalar(select(model.failures).where(*where).with_for_update())
        if failures is None:
            return
        failures += failure.counted
        if status not in WORKED_ON:
            _hand_back(session, lease, status)
        elif failure.retryable and failures < max_attempts:
            _try_again(session, lease, failure, failures)
        else:
            _give_up(session, lease, failure, failures)


@persistently
def release(lease: Lease) -> None:
    """Return the work to the queue without counting a failure: the next claim starts over."""
    with transaction() as session:
        _hand_back(session, lease, lock_task(session, lease.task_id))


def lock_task(session: ScopedSession, task_id: uuid.UUID) -> TaskStatus | None:
    """Lock the task's row until the transaction ends, and return its status; None when there is no such task."""
    return _status(session.scalar(select(Task.status).where(Task.id == task_id).with_for_update()))


def lease_cleared() -> Values:
    """Return the values of a row that no worker holds."""
    return {"lease_owner": None, "lease_until": None, "updated_at": func.now()}


def seconds_from_now(seconds: float) -> ColumnElement[datetime]:
    """Return a point in time by the database's clock."""
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _close_if_finished(session: ScopedSession, task_id: uuid.UUID) -> None:
    unfinished = exists().where(Part.task_id == task_id, Part.status != PartStatus.DONE)
    values = {
        "status": TaskStatus.DONE,
        "progress": 100,
        "finished_at": func.now(),
        "updated_at": func.now(),
    }
    session.execute(update(Task).where(Task.id == task_id, ~unfinished).values(values))


def _hand_back(session: ScopedSession, lease: Lease, task_status: TaskStatus | None) -> None:
    values: Values = {"progress": 0, **lease_cleared()}
    if isinstance(lease, PartLease):
        is_live = task_status in (TaskStatus.PROCESSING, TaskStatus.CANCELING)
        values["status"] = PartStatus.WAITING if is_live else PartStatus.FAILED
    elif task_status == TaskStatus.DOWNLOADING:
        values["status"] = TaskStatus.QUEUED
    session.execute(update(_model(lease)).where(*_where(lease)).values(values))


def _try_again(session: ScopedSession, lease: Lease, failure: WorkFailed, failures: int) -> None:
    waiting = TaskStatus.QUEUED if isinstance(lease, TaskLease) else PartStatus.WAITING
    values = {
        "status": waiting,
        "failures": failures,
        "progress": 0,
        "run_after": _retry_at(failure, failures, lease),
        **_error_columns(failure),
        **lease_cleared(),
    }
    session.execute(update(_model(lease)).where(*_where(lease)).values(values))


def _give_up(session: ScopedSession, lease: Lease, failure: WorkFailed, failures: int) -> None:
    ended = {"finished_at": func.now(), **_error_columns(failure)}
    failed = TaskStatus.FAILED if isinstance(lease, TaskLease) else PartStatus.FAILED
    values = {**ended, "status": failed, "failures": failures, **lease_cleared()}
    session.execute(update(_model(lease)).where(*_where(lease)).values(values))
    if isinstance(lease, PartLease):
        _fail_task(session, lease.task_id, ended)


def _fail_task(session: ScopedSession, task_id: uuid.UUID, ended: Values) -> None:
    values = {**ended, "status": TaskStatus.FAILED, "updated_at": func.now()}
    session.execute(update(Task).where(Task.id == task_id).values(values))
    waiting = (Part.task_id == task_id, Part.status == PartStatus.WAITING)
    given_up = {
        "status": PartStatus.FAILED,
        "error_code": FailureCode.TASK_FAILED,
        **lease_cleared(),
    }
    session.execute(update(Part).where(*waiting).values(given_up))


def _model(lease: Lease) -> type[Task] | type[Part]:
    return Task if isinstance(lease, TaskLease) else Part


def _where(lease: Lease) -> Where:
    """Return what identifies the row while the lease is still this worker's."""
    if isinstance(lease, TaskLease):
        row: Where = (Task.id == lease.task_id, Task.attempt == lease.attempt)
        return (*row, Task.lease_until.is_not(None))
    row = (Part.task_id == lease.task_id, Part.number == lease.number)
    return (*row, Part.attempt == lease.attempt, Part.status == PartStatus.RENDERING)


def _error_columns(failure: WorkFailed) -> Values:
    return {"error_code": failure.code, "error_message": failure.message}


def _retry_at(failure: WorkFailed, failures: int, lease: Lease) -> ColumnElement[datetime]:
    """Return when to try again: 5, 10, 20 … s from now; at most a minute, or ten where attempts are not counted."""
    tries, longest_s = (failures, 60) if failure.counted else (lease.attempt, 600)
    return seconds_from_now(min(longest_s, 5 * 2 ** min(tries - 1, 10)))


def _has_begun(session: ScopedSession, lease: TaskLease, source_path: str) -> bool:
    """Tell whether this very step was committed before and only its answer was lost."""
    where = (
        Task.id == lease.task_id,
        Task.status == TaskStatus.PROCESSING,
        Task.source_path == source_path,
    )
    return bool(session.scalar(select(exists().where(*where))))


def _has_finished(session: ScopedSession, lease: PartLease, clip: Clip) -> bool:
    """Tell whether this very step was committed before and only its answer was lost."""
    where = (
        Part.task_id == lease.task_id,
        Part.number == lease.number,
        Part.path == clip.path,
        Part.status == PartStatus.DONE,
    )
    return bool(session.scalar(select(exists().where(*where))))


def _status(value: str | None) -> TaskStatus | None:
    return None if value is None else TaskStatus(value)
