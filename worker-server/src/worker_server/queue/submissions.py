"""Accepting a task: the row is stored, once for each Idempotency-Key."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, null, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningInsert

from worker_server.db import db, transaction
from worker_server.models import Task
from worker_server.queue import uploads
from worker_server.queue.quotas import LimitState, Quotas, override_of

IDEMPOTENCY_HOURS = 24
_NO_QUOTAS = Quotas()
# A request with a known key can meet the DELETE of the first request's task; then it is a new one.
_MAX_TRIES = 10


class IdempotencyKeyReused(Exception):
    """The key came before, with another body."""


@dataclass(frozen=True)
class Submission:
    """A task to be accepted; `body_sha256` tells a repeated request from another one."""

    owner_id: int
    url: str
    name: str | None = None
    external_id: str | None = None
    metadata: dict[str, Any] | None = None
    edit: dict[str, Any] | None = None
    starts_manually: bool = False
    request_id: str | None = None
    idempotency_key: str | None = None
    body_sha256: str | None = None
    traceparent: str | None = None


class Accepted(NamedTuple):
    """A stored task, the first one for a repeated request, and what is left of its owner's limits.

    The limits are known only where the task `is_new`.
    """

    task: Task
    is_new: bool
    limits: Sequence[LimitState] = ()


def create_task(submission: Submission, quotas: Quotas = _NO_QUOTAS) -> Accepted:
    """Store the task; `quotas` are those of accounts that have none of their own.

    Raise IdempotencyKeyReused, or for a new task QuotaExceeded.
    """
    for _ in range(_MAX_TRIES):
        with transaction() as session:
            _forget_old_key(submission)
            limits: Sequence[LimitState] = ()
            created = session.execute(_insertion(submission)).one_or_none()
            if created is not None:
                own = quotas.overridden(created.quotas)
                limits = own.check(session, submission.owner_id)
                uploads.use_for_task(session, submission.owner_id, submission.url, created.Task.id)
            task = created.Task if created else _same_submission(submission)
            if task is not None:
                session.expunge(task)  # as it is now: a worker may claim it at once
                return Accepted(task, created is not None, limits)
    raise RuntimeError("tasks with this Idempotency-Key are created and deleted all the time")


def _insertion(submission: Submission) -> ReturningInsert[Any]:
    row = {
        "id": uuid.uuid4(),
        "owner_id": submission.owner_id,
        "url": submission.url,
        "name": submission.name,
        "external_id": submission.external_id,
        "caller_metadata": submission.metadata,
        "edit": null() if submission.edit is None else submission.edit,
        "starts_manually": submission.starts_manually,
        "request_id": submission.request_id,
        "traceparent": submission.traceparent,
        "idempotency_key": submission.idempotency_key,
        "idempotency_body_sha256": submission.body_sha256,
    }
    statement = insert(Task).values(row)
    return statement.on_conflict_do_nothing(
        index_elements=["owner_id", "idempotency_key"],
        index_where=Task.idempotency_key.is_not(None),
    ).returning(Task, override_of(submission.owner_id).label("quotas"))


def _same_key(submission: Submission) -> tuple[ColumnElement[bool], ...]:
    return (
        Task.owner_id == submission.owner_id,
        Task.idempotency_key == submission.idempotency_key,
    )


def _forget_old_key(submission: Submission) -> None:
    if submission.idempotency_key is None:
        return
    old = func.now() - timedelta(hours=IDEMPOTENCY_HOURS)
    statement = update(Task).where(*_same_key(submission), Task.created_at < old)
    db.session.execute(statement.values(idempotency_key=None))


def _same_submission(submission: Submission) -> Task | None:
    """Return the task of the first request with this key; None when it was deleted in between."""
    task = db.session.scalars(select(Task).where(*_same_key(submission))).one_or_none()
    if task is not None and task.idempotency_body_sha256 != submission.body_sha256:
        raise IdempotencyKeyReused("This Idempotency-Key came before with another body.")
    return task
