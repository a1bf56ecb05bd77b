"""Retention: finished tasks that are older than RETENTION_DAYS are deleted, with their files.

The database holds the setting and since when it applies. A task expires no earlier than NOTICE_DAYS
after the setting was changed, and after its `keep` was switched off, so that its owner sees
`expires_at` in time.
"""

import uuid
from datetime import timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import insert

from worker_server.db import transaction
from worker_server.models import Retention, Task
from worker_server.models.statuses import LIVE_TASKS, TaskStatus
from worker_server.queue.cancellation import delete_locked_tasks, in_one_transaction
from worker_server.queue.sql_common import Where

NOTICE_DAYS = 7


def apply_setting(days: int) -> None:
    """Store RETENTION_DAYS; a change of it starts the notice period."""
    statement = insert(Retention).values(id=True, days=days)
    changed = statement.on_conflict_do_update(
        index_elements=["id"],
        set_={"days": days, "since": func.now()},
        where=Retention.days != days,
    )
    with transaction() as session:
        session.execute(changed)


def delete_expired(limit: int) -> list[uuid.UUID]:
    """Delete expired tasks as their owners do, `limit` at a time; return which.

    The files of ended tasks are removed. One that waits, planned, for its caller is canceled: the
    webhooks of it and of its batch get the event. A task that is kept, live or just being retried
    is left alone.
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
        expired = [
            task
            for since, conditions in is_over
            for task in session.scalars(
                select(Task)
                .where(*conditions, *_notice_is_over(setting))
                .order_by(since)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
        ]
        chosen = in_one_transaction(session, expired)
        delete_locked_tasks(session, chosen)
        return [task.id for task in chosen]


def _notice_is_over(setting: Retention) -> Where:
    notified_before = func.now() - timedelta(days=NOTICE_DAYS)
    is_noticed = or_(Task.unkept_at.is_(None), Task.unkept_at <= notified_before)
    return (setting.since <= notified_before, ~Task.keep, is_noticed)
