"""Batches: tasks that one request posts together, all of them or none."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import delete, exists, func, insert, select

from worker_server.db import transaction
from worker_server.models import Batch, Task, WebhookDelivery
from worker_server.queue import callbacks, uploads
from worker_server.queue.cancellation import Deletion, delete_locked_tasks
from worker_server.queue.idempotency import IDEMPOTENCY_HOURS, find_first, release_old_key
from worker_server.queue.quotas import LimitState, Quotas
from worker_server.queue.sql_common import Check, ScopedSession, no_check
from worker_server.queue.statements import load
from worker_server.queue.statuses import DeliveryStatus
from worker_server.queue.submissions import ACCEPT_LOCK, Submission
from worker_server.queue.unsent_events import require_payloads

# SQL text as in submissions.py: SQLAlchemy compiles an upsert at each execution.
_INSERT_BATCH = load("insert_batch")
# A batch with this key may be deleted between INSERT and SELECT; the INSERT is then repeated.
_MAX_TRIES = 10


@dataclass(frozen=True)
class BatchSubmission:
    """A batch to be accepted; `body_sha256` tells a repeated request from another one."""

    owner_id: int
    tasks: Sequence[Submission]
    name: str | None = None
    idempotency_key: str | None = None
    body_sha256: str | None = None
    callback_url: str | None = None


class AcceptedBatch(NamedTuple):
    """A stored batch, or that of the first request, and what is left of its owner's limits.

    The limits are known only where the batch `is_new`.
    """

    batch_id: uuid.UUID
    is_new: bool
    limits: Sequence[LimitState] = ()


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


def delete_batch(owner_id: int, batch_id: uuid.UUID, check: Check = no_check) -> Deletion | None:
    """Abort the batch's live tasks and delete the others; None when the owner has no such batch.

    DELETED only if none of its tasks is left; until then its aborted tasks can still be seen.
    Raise EventsUnsent, and what `check` raises once batch and tasks are locked.
    """
    with transaction() as session:
        owned = select(Batch).where(Batch.id == batch_id, Batch.owner_id == owner_id)
        batch = session.scalar(owned.with_for_update())
        if batch is None:
            return None
        # Sorted: two deletions of one batch would deadlock otherwise.
        tasks = select(Task).where(Task.batch_id == batch_id).order_by(Task.id).with_for_update()
        locked = session.scalars(tasks).all()
        check()
        deletions = delete_locked_tasks(session, locked)
        for pending in (Deletion.CANCELING, Deletion.CANCELED):
            if pending in deletions:
                return pending
        require_payloads(session, [], batch_id)
        session.delete(batch)
        return Deletion.DELETED


def delete_empty() -> None:
    """Delete batches whose tasks are all gone, once their idempotency keys have expired.

    Not before their callbacks are sent, which are deleted with them.
    """
    keys_forgotten_before = func.now() - timedelta(hours=IDEMPOTENCY_HOURS)
    is_empty = ~exists().where(Task.batch_id == Batch.id)
    is_unsent = exists().where(
        WebhookDelivery.webhook_id == Batch.id,  # a callback has the batch's id
        WebhookDelivery.status == DeliveryStatus.WAITING,
    )
    where = (Batch.created_at < keys_forgotten_before, is_empty, ~is_unsent)
    with transaction() as session:
        session.execute(delete(Batch).where(*where))


def _values(submission: BatchSubmission) -> dict[str, Any]:
    """Return the parameters of insert_batch.sql, with a new id."""
    return {**vars(submission), "id": uuid.uuid4(), "lock": ACCEPT_LOCK}


def _task_rows(
    submission: BatchSubmission, batch_id: uuid.UUID, created_at: datetime
) -> list[dict[str, Any]]:
    """Return the tasks a microsecond apart: lists and claims keep the order of the items."""
    return [
        {
            "id": uuid.uuid4(),
            "owner_id": submission.owner_id,
            "batch_id": batch_id,
            "url": task.url,
            "name": task.name,
            "external_id": task.external_id,
            "caller_metadata": task.metadata,
            "edit": task.edit,
            "starts_manually": task.starts_manually,
            "request_id": task.request_id,
            "traceparent": task.traceparent,
            "callback_url": task.callback_url,
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
