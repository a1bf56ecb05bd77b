"""What callers' DELETE does to a task: abort it while it lives, remove it afterwards."""

import uuid
from enum import StrEnum

from sqlalchemy import delete, exists, func, or_, select, update

from worker_server.db import persistently, transaction
from worker_server.models import Part, Task
from worker_server.queue.leases import lease_cleared, lock_task
from worker_server.queue.statuses import LIVE_TASKS, PartStatus, TaskStatus


class Deletion(StrEnum):
    """What became of the task."""

    CANCELED = "canceled"
    CANCELING = "canceling"
    DELETED = "deleted"


def delete_task(owner_id: int, task_id: uuid.UUID) -> Deletion | None:
    """Abort a live task, or remove the row of a finished one; None when the owner has no such task.

    `canceling`: a worker still holds the task or a part of it. Otherwise the caller removes the files.
    """
    with transaction() as session:
        owned = select(Task).where(Task.id == task_id, Task.owner_id == owner_id)
        task = session.scalar(owned.with_for_update())
        if task is None:
            return None
        if task.status not in LIVE_TASKS:
            session.delete(task)
            return Deletion.DELETED
        values = {"status": TaskStatus.CANCELING, "updated_at": func.now()}
        session.execute(update(Task).where(Task.id == task_id).values(values))
    return Deletion.CANCELED if finish_cancel(task_id) else Deletion.CANCELING


@persistently
def finish_cancel(task_id: uuid.UUID) -> bool:
    """Make a task that is being canceled `canceled` and forget its parts, unless a worker holds one; tell if it is."""
    held_part = exists().where(
        Part.task_id == task_id,
        Part.status == PartStatus.RENDERING,
        Part.lease_until >= func.now(),
    )
    unheld = or_(Task.lease_until.is_(None), Task.lease_until < func.now())
    values = {"status": TaskStatus.CANCELED, "finished_at": func.now(), **lease_cleared()}
    with transaction() as session:
        status = lock_task(session, task_id)
        if status != TaskStatus.CANCELING:
            return status == TaskStatus.CANCELED
        statement = update(Task).where(Task.id == task_id, unheld, ~held_part).values(values)
        if session.scalar(statement.returning(Task.id)) is None:
            return False
        session.execute(delete(Part).where(Part.task_id == task_id))
        return True
