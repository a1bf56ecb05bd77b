"""What workers write: every change of status is one guarded step under a lease and an attempt number.

A worker claims a row, which raises the row's `attempt`; each later write names that attempt, so whoever lost the row
(asleep, cut off, slow) writes nothing. Only the database's clock counts. A task's row is locked before its parts' rows.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any, Literal

from flask_sqlalchemy.session import Session
from sqlalchemy import ColumnElement, Row, delete, exists, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import scoped_session

from worker_server.db import persistently, transaction
from worker_server.models import LIVE_STATUSES, Part, Task

# A turn is what an owner was given in the last minutes: who had least goes first, so nobody waits behind a crowd.
# `heads` steps from owner to owner through the index of waiting work, so a claim costs as much as there are owners in
# it, however much each has. Then it goes from owner to owner by turns, and locks the first row that nobody else holds.
_CLAIM_TASK = text("""
    WITH RECURSIVE heads AS (
        (SELECT owner_id, created_at FROM tasks WHERE status = 'queued' AND run_after <= now()
        ORDER BY owner_id, created_at LIMIT 1)
        UNION ALL
        SELECT next.* FROM heads CROSS JOIN LATERAL (
            SELECT owner_id, created_at FROM tasks
            WHERE status = 'queued' AND run_after <= now() AND owner_id > heads.owner_id
            ORDER BY owner_id, created_at LIMIT 1
        ) AS next
    ), chosen AS (
        SELECT mine.id FROM (
            SELECT owner_id FROM heads ORDER BY (
                SELECT count(*) FROM tasks AS begun
                WHERE begun.owner_id = heads.owner_id AND begun.started_at > now() - interval '10 minutes'
            ), created_at
        ) AS turns CROSS JOIN LATERAL (
            SELECT id FROM tasks WHERE owner_id = turns.owner_id AND status = 'queued' AND run_after <= now()
            ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
        ) AS mine LIMIT 1
    )
    UPDATE tasks SET status = 'downloading', attempt = attempt + 1, lease_owner = :owner, progress = 0,
        lease_until = now() + make_interval(secs => :lease_s),
        started_at = coalesce(started_at, now()), updated_at = now()
    FROM chosen WHERE tasks.id = chosen.id
    RETURNING tasks.id, tasks.url, tasks.attempt, tasks.request_id
""")

# First parts go first, of every task: a short clip does not wait for the end of a film. The task's row is not locked:
# a part claimed while its task is being canceled is noticed by the first heartbeat.
_CLAIM_PART = text("""
    WITH RECURSIVE heads AS (
        (SELECT owner_id, number, created_at FROM parts WHERE status = 'waiting' AND run_after <= now()
        ORDER BY owner_id, number, created_at LIMIT 1)
        UNION ALL
        SELECT next.* FROM heads CROSS JOIN LATERAL (
            SELECT owner_id, number, created_at FROM parts
            WHERE status = 'waiting' AND run_after <= now() AND owner_id > heads.owner_id
            ORDER BY owner_id, number, created_at LIMIT 1
        ) AS next
    ), chosen AS (
        SELECT mine.task_id, mine.number FROM (
            SELECT owner_id FROM heads ORDER BY (
                SELECT count(*) FROM parts AS begun
                WHERE begun.owner_id = heads.owner_id AND begun.started_at > now() - interval '10 minutes'
            ), number, created_at
        ) AS turns CROSS JOIN LATERAL (
            SELECT task_id, number FROM parts WHERE owner_id = turns.owner_id AND status = 'waiting'
                AND run_after <= now() AND (SELECT status = 'processing' FROM tasks WHERE id = parts.task_id)
            ORDER BY number, created_at LIMIT 1 FOR UPDATE SKIP LOCKED
        ) AS mine LIMIT 1
    )
    UPDATE parts SET status = 'rendering', attempt = parts.attempt + 1, lease_owner = :owner, progress = 0,
        lease_until = now() + make_interval(secs => :lease_s),
        started_at = coalesce(parts.started_at, now()), updated_at = now()
    FROM chosen JOIN tasks ON tasks.id = chosen.task_id
    WHERE parts.task_id = chosen.task_id AND parts.number = chosen.number
    RETURNING parts.task_id, parts.number, parts.attempt, parts.start_frame, parts.end_frame,
        parts.start_s, parts.end_s, tasks.source, tasks.source_path, tasks.request_id
""")


# Just after PostgreSQL's start nobody has had the chance to renew: wait one lease before taking any away.
_EXPIRED = text("""
    SELECT id AS task_id, attempt, NULL AS number FROM tasks
    WHERE status IN ('downloading', 'canceling') AND lease_until < now()
        AND now() > pg_postmaster_start_time() + make_interval(secs => :lease_s)
    UNION ALL
    SELECT task_id, attempt, number FROM parts
    WHERE status = 'rendering' AND lease_until < now()
        AND now() > pg_postmaster_start_time() + make_interval(secs => :lease_s)
""")


@dataclass(frozen=True)
class Lease:
    """The right to work on a task (`number` is None) or on one of its parts, under one attempt."""

    task_id: uuid.UUID
    attempt: int
    number: int | None = None


@dataclass(frozen=True)
class Failure:
    """Why an attempt ended. One that is not `counted` (no space on the disk) may be repeated for ever."""

    code: str
    message: str
    retryable: bool = False
    counted: bool = True


@dataclass(frozen=True)
class Clip:
    """A published part; `path` is below the share."""

    path: str
    size_bytes: int
    sha256: str
    frames: int
    rendered_by: Literal["copy", "encode"]


def claim_task(owner: str, lease_s: float) -> Row[Any] | None:
    """Take the queued task whose turn it is; None when there is none."""
    with transaction() as session:
        return session.execute(_CLAIM_TASK, {"owner": owner, "lease_s": lease_s}).one_or_none()


def claim_part(owner: str, lease_s: float) -> Row[Any] | None:
    """Take the waiting part whose turn it is; None when there is none."""
    with transaction() as session:
        return session.execute(_CLAIM_PART, {"owner": owner, "lease_s": lease_s}).one_or_none()


def renew(lease: Lease, lease_s: float, progress: int) -> str | None:
    """Renew the lease and write the progress; return the task's status, or None when the lease is somebody else's.

    A lease that ran out but was not taken is renewed: after an outage of the database nobody loses work.
    """
    until = _seconds_from_now(lease_s)
    values = {"lease_until": until, "progress": progress, "updated_at": func.now()}
    with transaction() as session:
        if lease.number is None:
            held = (
                Task.id == lease.task_id,
                Task.attempt == lease.attempt,
                Task.lease_until.is_not(None),
            )
            return session.scalar(update(Task).where(*held).values(values).returning(Task.status))
        statement = update(Part).where(*_held_part(lease), Task.id == Part.task_id).values(values)
        return session.scalar(statement.returning(Task.status))


@persistently
def begin_processing(
    lease: Lease, source: dict[str, Any], source_path: str, parts: list[dict[str, Any]]
) -> bool:
    """Store the source's facts and its parts, and end the lease: now the parts are the work. False: too late."""
    with transaction() as session:
        values = {
            "status": "processing",
            "source": source,
            "source_path": source_path,
            **_lease_cleared(),
        }
        held = (*_held_task(lease), Task.status == "downloading")
        owner_id = session.scalar(update(Task).where(*held).values(values).returning(Task.owner_id))
        if owner_id is None:
            return _has_begun(session, lease, source_path)
        rows = [{"task_id": lease.task_id, "owner_id": owner_id, **part} for part in parts]
        session.execute(insert(Part), rows)
        return True


@persistently
def finish_part(lease: Lease, clip: Clip) -> bool:
    """Make the part `done`, and the task with its last one. False: too late, and the clip is nobody's."""
    with transaction() as session:
        if _lock_task(session, lease.task_id) != "processing":
            return _has_finished(session, lease, clip)
        values = {
            "status": "done",
            "path": clip.path,
            "size_bytes": clip.size_bytes,
            "sha256": clip.sha256,
            "frames": clip.frames,
            "rendered_by": clip.rendered_by,
            "progress": 100,
            "finished_at": func.now(),
            "error_code": None,
            "error_message": None,
            **_lease_cleared(),
        }
        done = session.execute(
            update(Part).where(*_held_part(lease)).values(values).returning(Part.number)
        ).one_or_none()
        if done is None:
            return _has_finished(session, lease, clip)
        unfinished = exists().where(Part.task_id == lease.task_id, Part.status != "done")
        closed = {
            "status": "done",
            "progress": 100,
            "finished_at": func.now(),
            "updated_at": func.now(),
        }
        session.execute(update(Task).where(Task.id == lease.task_id, ~unfinished).values(closed))
        return True


@persistently
def fail(lease: Lease, failure: Failure, max_attempts: int, *, expired_only: bool = False) -> None:
    """Record that the attempt failed: another one follows after a while, or the whole task fails.

    With `expired_only` nothing happens unless the lease has run out meanwhile: somebody else's word on its holder.
    """
    with transaction() as session:
        status = _lock_task(session, lease.task_id)
        model, held = _model(lease), _held(lease)
        if expired_only:
            held = (*held, model.lease_until < func.now())
        failures = session.scalar(select(model.failures).where(*held).with_for_update())
        if failures is None:
            return
        failures += failure.counted
        if status not in ("downloading", "processing"):
            _hand_back(session, lease, status)
        elif failure.retryable and failures < max_attempts:
            _try_again(session, lease, failure, failures)
        else:
            _give_up(session, lease, failure, failures)


@persistently
def release(lease: Lease) -> None:
    """Hand the work back unharmed: somebody else begins it anew."""
    with transaction() as session:
        _hand_back(session, lease, _lock_task(session, lease.task_id))


@persistently
def finish_cancel(task_id: uuid.UUID) -> bool:
    """Make a task `canceled`, its parts forgotten, if nobody works on it any more; tell whether it is now."""
    working = exists().where(
        Part.task_id == task_id, Part.status == "rendering", Part.lease_until >= func.now()
    )
    free = or_(Task.lease_until.is_(None), Task.lease_until < func.now())
    values = {"status": "canceled", "finished_at": func.now(), **_lease_cleared()}
    with transaction() as session:
        status = _lock_task(session, task_id)
        if status != "canceling":
            return status == "canceled"
        statement = (
            update(Task).where(Task.id == task_id, free, ~working).values(values).returning(Task.id)
        )
        if session.scalar(statement) is None:
            return False
        session.execute(delete(Part).where(Part.task_id == task_id))
        return True


def expired(lease_s: float) -> list[Lease]:
    """Return the leases that have run out; none just after the server's start, when nobody could renew them."""
    with transaction() as session:
        rows = session.execute(_EXPIRED, {"lease_s": lease_s})
        return [Lease(row.task_id, row.attempt, row.number) for row in rows]


def canceling() -> list[uuid.UUID]:
    """Return the tasks that are being canceled."""
    with transaction() as session:
        return list(session.scalars(select(Task.id).where(Task.status == "canceling")))


def ready(limit: int) -> tuple[int, int]:
    """Return how many tasks can be fetched now, and how many parts rendered; of neither more than `limit`."""
    return _count_some(Task, "queued", limit), _count_some(Part, "waiting", limit)


def unknown(task_ids: list[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of the ids that no task has."""
    with transaction() as session:
        return set(task_ids) - set(session.scalars(select(Task.id).where(Task.id.in_(task_ids))))


def files_to_keep(task_id: uuid.UUID) -> set[str] | None:
    """Return the names of the files in the task's folder that are still needed; None while it is being worked on."""
    with transaction() as session:
        status = session.scalar(select(Task.status).where(Task.id == task_id))
        if status in LIVE_STATUSES:
            return None
        clips = select(Part.path).where(Part.task_id == task_id, Part.status == "done")
        return {PurePath(path).name for path in session.scalars(clips) if path}


def _count_some(model: type[Task] | type[Part], status: str, limit: int) -> int:
    due = (
        select(model.owner_id)
        .where(model.status == status, model.run_after <= func.now())
        .limit(limit)
    )
    with transaction() as session:
        return session.scalar(select(func.count()).select_from(due.subquery())) or 0


def _hand_back(session: scoped_session[Session], lease: Lease, task_status: str | None) -> None:
    model = _model(lease)
    values: dict[str, Any] = {"progress": 0, **_lease_cleared()}
    if model is Part:
        values["status"] = "waiting" if task_status in ("processing", "canceling") else "failed"
    elif task_status == "downloading":
        values["status"] = "queued"
    session.execute(update(model).where(*_held(lease)).values(values))


def _try_again(
    session: scoped_session[Session], lease: Lease, failure: Failure, failures: int
) -> None:
    model = _model(lease)
    status = "queued" if model is Task else "waiting"
    values = {
        "status": status,
        "failures": failures,
        "progress": 0,
        "run_after": _retry_at(failure, failures, lease),
    }
    session.execute(
        update(model)
        .where(*_held(lease))
        .values(**values, **_error_columns(failure), **_lease_cleared())
    )


def _give_up(
    session: scoped_session[Session], lease: Lease, failure: Failure, failures: int
) -> None:
    ended = {"status": "failed", "finished_at": func.now(), **_error_columns(failure)}
    model = _model(lease)
    session.execute(
        update(model).where(*_held(lease)).values(**ended, failures=failures, **_lease_cleared())
    )
    if model is Part:
        session.execute(
            update(Task).where(Task.id == lease.task_id).values(**ended, updated_at=func.now())
        )
        never = (Part.task_id == lease.task_id, Part.status == "waiting")
        session.execute(
            update(Part)
            .where(*never)
            .values(status="failed", error_code="task_failed", **_lease_cleared())
        )


def _model(lease: Lease) -> type[Task] | type[Part]:
    return Task if lease.number is None else Part


def _held(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    return _held_task(lease) if lease.number is None else _held_part(lease)


def _held_task(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    return (Task.id == lease.task_id, Task.attempt == lease.attempt, Task.lease_until.is_not(None))


def _held_part(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    number = (Part.task_id == lease.task_id, Part.number == lease.number)
    return (*number, Part.attempt == lease.attempt, Part.status == "rendering")


def _lease_cleared() -> dict[str, Any]:
    return {"lease_owner": None, "lease_until": None, "updated_at": func.now()}


def _error_columns(failure: Failure) -> dict[str, Any]:
    return {"error_code": failure.code, "error_message": failure.message}


def _retry_at(failure: Failure, failures: int, lease: Lease) -> ColumnElement[datetime]:
    """Return when to try again: 5, 10, 20 … s from now; at most a minute, or ten where attempts are not counted."""
    tries, longest_s = (failures, 60) if failure.counted else (lease.attempt, 600)
    return _seconds_from_now(min(longest_s, 5 * 2 ** min(tries - 1, 10)))


def _lock_task(session: scoped_session[Session], task_id: uuid.UUID) -> str | None:
    status: str | None = session.scalar(
        select(Task.status).where(Task.id == task_id).with_for_update()
    )
    return status


def _has_begun(session: scoped_session[Session], lease: Lease, source_path: str) -> bool:
    """Tell whether this very step was committed before, its answer lost."""
    mine = (Task.id == lease.task_id, Task.status == "processing", Task.source_path == source_path)
    return bool(session.scalar(select(exists().where(*mine))))


def _has_finished(session: scoped_session[Session], lease: Lease, clip: Clip) -> bool:
    """Tell whether this very step was committed before, its answer lost."""
    mine = (
        Part.task_id == lease.task_id,
        Part.number == lease.number,
        Part.path == clip.path,
        Part.status == "done",
    )
    return bool(session.scalar(select(exists().where(*mine))))


def _seconds_from_now(seconds: float) -> ColumnElement[datetime]:
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
