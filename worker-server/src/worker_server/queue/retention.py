"""Retention: finished tasks that are older than RETENTION_DAYS are forgotten, with their files.

The setting is kept in the database with the time since when it applies: a task expires at the
earliest NOTICE_DAYS after the setting has changed, so that its owner sees `expires_at` before.
"""

import uuid
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from worker_server.db import transaction
from worker_server.models import Retention, Task
from worker_server.queue import removals
from worker_server.queue.statuses import LIVE_TASKS, TaskStatus

NOTICE_DAYS = 7


def apply_setting(days: int) -> None:
    """Note RETENTION_DAYS; a change of it starts the notice."""
    statement = insert(Retention).values(id=True, days=days)
    changed = statement.on_conflict_do_update(
        index_elements=["id"],
        set_={"days": days, "since": func.now()},
        where=Retention.days != days,
    )
    with transaction() as session:
        session.execute(changed)


def forget_expired(limit: int) -> list[uuid.UUID]:
    """Delete up to `limit` expired tasks, oldest first, and request the removal of their files.

    A task that is kept, live or just being retried is left alone; one that waits, planned, for its
    caller expires like a finished one.
    """
    with transaction() as session:
        setting = session.get(Retention, True)
        if setting is None or not setting.days:
            return []
        before = func.now() - timedelta(days=setting.days)
        is_over = (
            (Task.finished_at, (Task.finished_at <= before, Task.status.not_in(LIVE_TASKS))),
            (Task.planned_at, (Task.planned_at <= before, Task.status == TaskStatus.PLANNED)),
        )
        task_ids = [
            task_id
            for since, conditions in is_over
            for task_id in session.scalars(
                select(Task.id)
                .where(
                    *conditions,
                    setting.since <= func.now() - timedelta(days=NOTICE_DAYS),
                    ~Task.keep,
                )
                .order_by(since)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
        ]
        if task_ids:
            session.execute(delete(Task).where(Task.id.in_(task_ids)))
            removals.request_each(session, task_ids)
        return task_ids
