"""Callers' DELETE of a task: abort it while it lives, forget it after; a removal follows."""

import uuid
from enum import StrEnum

from sqlalchemy import func, select, update

from worker_server.db import transaction
from worker_server.models import Task
from worker_server.queue import removals
from worker_server.queue.events import EventKind, record
from worker_server.queue.session import ScopedSession
from worker_server.queue.statuses import LIVE_TASKS, TaskStatus


class Deletion(StrEnum):
    """What became of the task."""

    CANCELED = "canceled"
    CANCELING = "canceling"
    DELETED = "deleted"


def delete_task(owner_id: int, task_id: uuid.UUID) -> Deletion | None:
    """Abort a live task, or forget a finished one; None when the owner has no such task.

    `canceled` at once is a task that no worker has ever claimed; any other one is `canceling` until
    its files are gone.
    """
    with transaction() as session:
        owned = select(Task).where(Task.id == task_id, Task.owner_id == owner_id)
        task = session.scalar(owned.with_for_update())
        return None if task is None else delete_locked_task(session, task)


def delete_locked_task(session: ScopedSession, task: Task) -> Deletion:
    """Do the same to a task that the caller has locked."""
    if task.status not in LIVE_TASKS:
        session.delete(task)
        removals.request(session, task.id)
        return Deletion.DELETED
    if task.status != TaskStatus.CANCELING:
        _request_cancel(session, task.id)
    if task.attempt == 0:
        removals.finish_cancel(session, task.id, 0)
        return Deletion.CANCELED
    removals.request(session, task.id)
    return Deletion.CANCELING


def _request_cancel(session: ScopedSession, task_id: uuid.UUID) -> None:
    values = {
        "status": TaskStatus.CANCELING,
        "cancel_requested_at": func.now(),
        "updated_at": func.now(),
    }
    session.execute(update(Task).where(Task.id == task_id).values(values))
    record(session, task_id, EventKind.CANCEL_REQUESTED)
