"""Ends a task with its last part: `done` if all parts are, `failed` if one failed.

The good clips stay either way.
"""

import uuid

from sqlalchemy import exists, func, select, update

from worker_server.models import Part, Task
from worker_server.models.statuses import UNFINISHED_PARTS, PartStatus, TaskStatus
from worker_server.queue import removals, totals
from worker_server.queue.events import EventKind, record
from worker_server.queue.sql_common import ScopedSession, Values, error_cleared


def close_if_finished(session: ScopedSession, task_id: uuid.UUID) -> bool:
    """End the task unless a part waits or renders; return whether it has ended.

    The caller has locked the task.
    """
    not_done = exists().where(Part.task_id == task_id, Part.status != PartStatus.DONE)
    values = {"status": TaskStatus.DONE, "progress": 100, **error_cleared(), **_finished_now()}
    statement = update(Task).where(Task.id == task_id, ~not_done).values(values)
    if session.scalar(statement.returning(Task.id)) is not None:
        record(session, task_id, EventKind.TASK_DONE)
        totals.add_ended(session, TaskStatus.DONE)
        removals.request(session, task_id)
        return True
    return _fail_if_finished(session, task_id)


def _fail_if_finished(session: ScopedSession, task_id: uuid.UUID) -> bool:
    unfinished = exists().where(Part.task_id == task_id, Part.status.in_(UNFINISHED_PARTS))
    failed = select(Part.error_code, Part.error_message).where(
        Part.task_id == task_id, Part.status == PartStatus.FAILED, ~unfinished
    )
    first = session.execute(failed.order_by(Part.number).limit(1)).one_or_none()
    if first is None:
        return False
    values = {"status": TaskStatus.FAILED, **_finished_now()}
    values |= {"error_code": first.error_code, "error_message": first.error_message}
    session.execute(update(Task).where(Task.id == task_id).values(values))
    record(session, task_id, EventKind.TASK_FAILED, first.error_code)
    totals.add_ended(session, TaskStatus.FAILED, first.error_code)
    removals.request(session, task_id)
    return True


def _finished_now() -> Values:
    return {"finished_at": func.now(), "updated_at": func.now()}
