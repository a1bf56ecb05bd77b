"""Callers' PATCH of a task: what an owner may change of it at any time."""

import uuid
from collections.abc import Mapping

from sqlalchemy import func, update

from worker_server.db import transaction
from worker_server.models import Task


def change_task(owner_id: int, task_id: uuid.UUID, values: Mapping[str, object]) -> bool:
    """Set these columns of the task; False when the owner has no such task."""
    owned = update(Task).where(Task.id == task_id, Task.owner_id == owner_id)
    with transaction() as session:
        changed = owned.values({**values, "updated_at": func.now()}).returning(Task.id)
        return session.scalar(changed) is not None
