"""Accepting a task: the row is stored, once for each Idempotency-Key."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from worker_server.db import transaction
from worker_server.models import Task
from worker_server.models.statuses import TaskStatus
from worker_server.queue import callbacks, uploads
from worker_server.queue.idempotency import IdempotentRequest, find_first, release_old_key
from worker_server.queue.quotas import LimitState, Quotas
from worker_server.queue.sql_common import ScopedSession, lock_for_owner
from worker_server.queue.statements import load

_NO_QUOTAS = Quotas()
# SQL text: SQLAlchemy compiles an upsert at each execution, which takes longer than the rest.
_INSERT_TASK = load("insert_task")
# Key of an advisory lock of an owner, unique within the database. Transactions that add tasks share
# it, and take `created_at` while they hold it.
ACCEPT_LOCK = 0x1D44
# The task of a known key may be deleted between INSERT and SELECT; the INSERT is then repeated.
_MAX_TRIES = 10


@dataclass(frozen=True)
class Submission(IdempotentRequest):
    """A task to be accepted."""

    url: str
    name: str | None = None
    external_id: str | None = None
    metadata: dict[str, Any] | None = None
    edit: dict[str, Any] | None = None
    starts_manually: bool = False
    request_id: str | None = None
    traceparent: str | None = None
    callback_url: str | None = None

    def columns(self) -> dict[str, Any]:
        """Return its values in a row of a Task."""
        return {
            "owner_id": self.owner_id,
            "url": self.url,
            "name": self.name,
            "external_id": self.external_id,
            "caller_metadata": self.metadata,
            "edit": self.edit,
            "starts_manually": self.starts_manually,
            "request_id": self.request_id,
            "traceparent": self.traceparent,
            "callback_url": self.callback_url,
        }


class Accepted(NamedTuple):
    """A stored task, or that of the first request, and what is left of its owner's limits.

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
            release_old_key(session, Task, submission)
            values = _values(submission)
            created = session.execute(_INSERT_TASK, values).one_or_none()
            if created is not None:
                own = quotas.overridden(created.quotas)
                sources = uploads.sources_of([submission.url])
                limits = own.check(session, submission.owner_id, sources=sources)
                task = _new_task(submission, values["id"], created.created_at)
                name = uploads.use_for_task(session, task.owner_id, task.url, task.id)
                task.name = task.name or name
                callbacks.add_for_tasks(session, task.owner_id, {task.id: task.callback_url})
                return Accepted(task, is_new=True, limits=limits)
            first = find_first(session, Task, submission)
            if first is not None:
                return Accepted(first, is_new=False)
    raise RuntimeError("tasks with this Idempotency-Key are created and deleted all the time")


def wait_for_accepted(session: ScopedSession, owner_id: int) -> None:
    """Wait for transactions that add tasks of the owner; others wait until this one ends.

    What this transaction then reads has every task of before, and later ones have a later
    `created_at`: callers who ask for those created since the last one they know miss none.
    """
    lock_for_owner(session, ACCEPT_LOCK, owner_id)


def _values(submission: Submission) -> dict[str, Any]:
    """Return the parameters of insert_task.sql, with a new id."""
    values = {**vars(submission), "id": uuid.uuid4(), "lock": ACCEPT_LOCK}
    for name in ("metadata", "edit"):
        values[name] = None if values[name] is None else json.dumps(values[name])
    return values


def _new_task(submission: Submission, task_id: uuid.UUID, created_at: datetime) -> Task:
    """Return a detached Task with the values just inserted, without a query."""
    return Task(
        id=task_id,
        status=TaskStatus.QUEUED,
        progress=0,
        attempt=0,
        created_at=created_at,
        **submission.columns(),
    )
