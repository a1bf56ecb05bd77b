"""Callers' PATCH of a task: what an owner may change of it."""

import uuid
from collections.abc import Mapping

from sqlalchemy import func, select, update

from worker_server.db import transaction
from worker_server.models import Task
from worker_server.queue.planning import Editor, change_edit


def change_task(
    owner_id: int,
    task_id: uuid.UUID,
    values: Mapping[str, object],
    editor: Editor | None = None,
) -> bool:
    """Set these columns of the task, and its edit by `editor`; all of it or nothing.

    Raise NotPlanned, and what `editor` raises; False when the owner has no such task.
    """
    owned = select(Task.id).where(Task.id == task_id, Task.owner_id == owner_id)
    with transaction() as session:
        if session.scalar(owned.with_for_update()) is None:
            return False
        changed = update(Task).where(Task.id == task_id)
        session.execute(changed.values({**values, "updated_at": func.now()}))
        if editor is not None:
            change_edit(session, task_id, editor)
        return True
