"""Planned tasks that wait for their caller: a start begins them, another edit plans them again."""

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, DateTime, delete, func, literal_column, select, update

from worker_server.db import transaction
from worker_server.models import Part, Task
from worker_server.models.statuses import TaskStatus
from worker_server.queue.events import EventKind, record
from worker_server.queue.quotas import Quotas
from worker_server.queue.sql_common import ScopedSession, Values

# `run_after` of a planned task's parts: never due, so no query of due work returns them.
NEVER: ColumnElement[datetime] = literal_column("'infinity'::timestamptz", DateTime(timezone=True))
# Returns the edit to store, made from the stored edit and the source's facts, and how many seconds
# of the source it selects.
Editor = Callable[[dict[str, Any], dict[str, Any]], tuple[dict[str, Any], float]]


class NotPlanned(Exception):
    """Only a planned task can be started, or get another edit."""


def planned_values(*, waits: bool) -> Values:
    """Return the status of a task whose parts are planned, and since when it waits."""
    if waits:
        return {"status": TaskStatus.PLANNED, "planned_at": func.now()}
    return {"status": TaskStatus.PROCESSING, "planned_at": None}


def start_task(owner_id: int, task_id: uuid.UUID) -> int | None:
    """Let a planned task's parts be rendered; return their number, 0 if it was started before.

    Raise NotPlanned; None when the owner has no such task.
    """
    columns = (Task.status, Task.start_requested_at)
    with transaction() as session:
        owned = select(*columns).where(Task.id == task_id, Task.owner_id == owner_id)
        task = session.execute(owned.with_for_update()).one_or_none()
        if task is None:
            return None
        if task.start_requested_at is not None:
            return 0
        if task.status != TaskStatus.PLANNED:
            raise NotPlanned("Only a planned task can be started.")
        now = {"start_requested_at": func.now(), "updated_at": func.now()}
        values = planned_values(waits=False) | now
        session.execute(update(Task).where(Task.id == task_id).values(values))
        parts = update(Part).where(Part.task_id == task_id).values(run_after=func.now())
        count = len(session.scalars(parts.returning(Part.number)).all())
        record(session, task_id, EventKind.START_REQUESTED)
        return count


def change_edit(session: ScopedSession, task_id: uuid.UUID, editor: Editor, quotas: Quotas) -> None:
    """Store the new edit and queue the task, to be planned again from the downloaded source.

    An edit that changes nothing keeps the plan. The caller has locked the task. Raise NotPlanned,
    QuotaExceeded, and what `editor` raises.
    """
    columns = (Task.status, Task.owner_id, Task.edit, Task.source, Task.planned_s)
    task = session.execute(select(*columns).where(Task.id == task_id)).one()
    if task.status != TaskStatus.PLANNED:
        raise NotPlanned("Only a planned task's edit can be changed.")
    edit, seconds = editor(task.edit or {}, task.source or {})
    if edit == task.edit:
        return
    if task.planned_s is not None:  # null: planned by an older release, which counted nothing
        own = quotas.of_account(session, task.owner_id)
        own.check_more_seconds(session, task.owner_id, seconds - task.planned_s)
    values = {
        "edit": edit,
        "status": TaskStatus.QUEUED,
        "planned_at": None,
        "progress": 0,
        "failures": 0,
        "run_after": func.now(),
        "updated_at": func.now(),
    }
    session.execute(update(Task).where(Task.id == task_id).values(values))
    session.execute(delete(Part).where(Part.task_id == task_id))
    record(session, task_id, EventKind.EDIT_CHANGED)
