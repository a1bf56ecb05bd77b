"""Batches: tasks that one request posts together, all of them or none."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import exists, insert, select

from worker_server.db import transaction
from worker_server.models import Batch, Task
from worker_server.models.statuses import LIVE_TASKS
from worker_server.queue import callbacks, uploads
from worker_server.queue.cancellation import Deletion, delete_locked_tasks, in_one_transaction
from worker_server.queue.idempotency import (
    IDEMPOTENCY_HOURS,
    IdempotentRequest,
    find_first,
    release_old_key,
)
from worker_server.queue.quotas import LimitState, Quotas
from worker_server.queue.sql_common import Check, ScopedSession, no_check
from worker_server.queue.statements import for_each_page, load
from worker_server.queue.submissions import ACCEPT_LOCK, Submission
from worker_server.queue.unsent_events import require_payloads

# SQL text as in submissions.py: SQLAlchemy compiles an upsert at each execution.
_INSERT_BATCH = load("insert_batch")
_DELETE_EMPTY = load("delete_empty_batches")
# A batch with this key may be deleted between INSERT and SELECT; the INSERT is then repeated.
_MAX_TRIES = 10


@dataclass(frozen=True)
class BatchSubmission(IdempotentRequest):
    """A batch to be accepted."""

    tasks: Sequence[Submission]
    name: str | None = None
    callback_url: str | None = None


class AcceptedBatch(NamedTuple):
    """A stored batch, or that of the first request, and what is left of its owner's limits.

    The limits are known only where the batch `is_new`.
    """

    batch_id: uuid.UUID
    is_new: bool
    limits: Sequence[LimitState] = ()


class BatchDeletion(NamedTuple):
    """What DELETE has done to a batch, once the ended tasks `rest` are deleted too."""

    outcome: Deletion
    rest: Sequence[uuid.UUID] = ()


def create_batch(submission: BatchSubmission, quotas: Quotas) -> AcceptedBatch:
    """Store the batch and its tasks; `quotas` are those of accounts that have none of their own.

    Raise IdempotencyKeyReused, or for a new batch QuotaExceeded.
    """
    for _ in range(_MAX_TRIES):
        with transaction() as session:
            release_old_key(session, Batch, submission)
            created = session.execute(_INSERT_BATCH, _values(submission)).one_or_none()
            if created is not None:
                rows = _task_rows(submission, created.id, created.created_at)
                session.execute(insert(Task), rows)
                own = quotas.overridden(created.quotas)
                sources = uploads.sources_of([row["url"] for row in rows])
                limits = own.check(session, submission.owner_id, len(rows), sources)
                _use_uploads(session, submission.owner_id, rows)
                _add_callbacks(session, submission, created.id, rows)
                return AcceptedBatch(created.id, is_new=True, limits=limits)
            first = find_first(session, Batch, submission)
            if first is not None:
                return AcceptedBatch(first.id, is_new=False)
    raise RuntimeError("batches with this Idempotency-Key are created and deleted all the time")


def delete_batch(
    owner_id: int, batch_id: uuid.UUID, check: Check = no_check
) -> BatchDeletion | None:
    """Abort the batch's live tasks and delete the others; None when the owner has no such batch.

    Of very many parts not all tasks are deleted: `delete_rest` goes on. Raise EventsUnsent, and
    what `check` raises once batch and tasks are locked.
    """
    with transaction() as session:
        batch, tasks = _locked(session, owner_id, batch_id)
        if batch is None:
            return None
        check()
        chosen = in_one_transaction(session, tasks)
        deletions = delete_locked_tasks(session, chosen)
        rest = [task.id for task in tasks if task not in chosen]
        for pending in (Deletion.CANCELING, Deletion.CANCELED):
            if pending in deletions:
                return BatchDeletion(pending, rest)
        return _delete_if_empty(session, batch, rest)


def delete_rest(owner_id: int, batch_id: uuid.UUID, deletion: BatchDeletion) -> BatchDeletion:
    """Delete more of what `deletion` has left, except what lives again; raise EventsUnsent."""
    with transaction() as session:
        batch, tasks = _locked(session, owner_id, batch_id)
        if batch is None:
            return BatchDeletion(Deletion.DELETED)
        ended = [
            task for task in tasks if task.id in deletion.rest and task.status not in LIVE_TASKS
        ]
        chosen = in_one_transaction(session, ended)
        delete_locked_tasks(session, chosen)
        rest = [task.id for task in ended if task not in chosen]
        if deletion.outcome is not Deletion.DELETED:
            return BatchDeletion(deletion.outcome, rest)
        return _delete_if_empty(session, batch, rest)


def _locked(
    session: ScopedSession, owner_id: int, batch_id: uuid.UUID
) -> tuple[Batch | None, Sequence[Task]]:
    """Lock the owner's batch and its tasks, sorted: two deletions of one batch would deadlock."""
    owned = select(Batch).where(Batch.id == batch_id, Batch.owner_id == owner_id)
    batch = session.scalar(owned.with_for_update())
    if batch is None:
        return None, ()
    tasks = select(Task).where(Task.batch_id == batch_id).order_by(Task.id).with_for_update()
    return batch, session.scalars(tasks).all()


def _delete_if_empty(
    session: ScopedSession, batch: Batch, rest: Sequence[uuid.UUID]
) -> BatchDeletion:
    """Delete the batch unless some of its tasks are left."""
    if rest:
        return BatchDeletion(Deletion.DELETED, rest)
    if session.scalar(select(exists().where(Task.batch_id == batch.id))):  # retried meanwhile
        return BatchDeletion(Deletion.CANCELING)
    require_payloads(session, [], batch.id)
    session.delete(batch)
    return BatchDeletion(Deletion.DELETED)


def delete_empty() -> None:
    """Delete batches whose tasks are all gone, once their idempotency keys have expired.

    Not before their callbacks are sent, which are deleted with them.
    """
    for_each_page(_DELETE_EMPTY, IDEMPOTENCY_HOURS)


def _values(submission: BatchSubmission) -> dict[str, Any]:
    """Return the parameters of insert_batch.sql, with a new id."""
    return {**vars(submission), "id": uuid.uuid4(), "lock": ACCEPT_LOCK}


def _task_rows(
    submission: BatchSubmission, batch_id: uuid.UUID, created_at: datetime
) -> list[dict[str, Any]]:
    """Return the tasks a microsecond apart: lists and claims keep the order of the items."""
    return [
        {
            **task.columns(),
            "id": uuid.uuid4(),
            "batch_id": batch_id,
            "created_at": (at := created_at + timedelta(microseconds=index)),
            "updated_at": at,
        }
        for index, task in enumerate(submission.tasks)
    ]


def _use_uploads(session: ScopedSession, owner_id: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Assign the uploads to their tasks, ordered by URL: concurrent batches cannot deadlock."""
    for row in sorted(rows, key=lambda row: str(row["url"])):
        uploads.use_for_task(session, owner_id, row["url"], row["id"])


def _add_callbacks(
    session: ScopedSession,
    submission: BatchSubmission,
    batch_id: uuid.UUID,
    rows: Sequence[Mapping[str, Any]],
) -> None:
    owner_id = submission.owner_id
    callbacks.add_for_batch(session, owner_id, batch_id, submission.callback_url)
    callbacks.add_for_tasks(session, owner_id, {row["id"]: row["callback_url"] for row in rows})
