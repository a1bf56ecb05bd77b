"""DELETE of a task: aborts a live task, deletes a finished one, and requests the file removal."""

import uuid
from collections.abc import Sequence
from enum import StrEnum

from sqlalchemy import delete, func, select, update

from worker_server.db import transaction
from worker_server.models import Part, Task
from worker_server.models.statuses import LIVE_TASKS, TaskStatus
from worker_server.queue import removals
from worker_server.queue.events import EventKind, record_each
from worker_server.queue.sql_common import Check, ScopedSession, no_check
from worker_server.queue.unsent_events import require_payloads

# One transaction deletes tasks with this many parts, and two or more events of each part: a batch
# may have millions of rows, and a statement ends after 10 s.
PIECE_PARTS = 20_000


class Deletion(StrEnum):
    """What DELETE has done to the task."""

    CANCELED = "canceled"
    CANCELING = "canceling"
    DELETED = "deleted"


def delete_task(owner_id: int, task_id: uuid.UUID, check: Check = no_check) -> Deletion | None:
    """Abort a live task, or delete a finished one; None when the owner has no such task.

    A task that no worker has ever claimed is `canceled` at once; any other live one is `canceling`
    until its files are gone. Raise EventsUnsent, and what `check` raises once the task is locked.
    """
    with transaction() as session:
        owned = select(Task).where(Task.id == task_id, Task.owner_id == owner_id)
        task = session.scalar(owned.with_for_update())
        if task is None:
            return None
        check()
        return delete_locked_tasks(session, [task]).pop()


def in_one_transaction(session: ScopedSession, tasks: Sequence[Task]) -> list[Task]:
    """Return the live tasks, and as many of the ended ones as one transaction should delete."""
    # Parts are numbered from 0, so the index has their number.
    last = select(func.max(Part.number)).where(Part.task_id == Task.id).scalar_subquery()
    ended = [task.id for task in tasks if _outcome(task) is Deletion.DELETED]
    counts = select(Task.id, func.coalesce(last + 1, 0)).where(Task.id.in_(ended))
    parts = dict(session.execute(counts).tuples().all())
    chosen, total = [], 0
    for task in tasks:
        if total < PIECE_PARTS or task.id not in parts:
            chosen.append(task)
        total += parts.get(task.id, 0)
    return chosen


def delete_locked_tasks(session: ScopedSession, tasks: Sequence[Task]) -> set[Deletion]:
    """Delete tasks that the caller has locked, with as many SQL statements as for one task.

    Raise EventsUnsent.
    """
    outcomes = {task.id: _outcome(task) for task in tasks}
    ended, unclaimed, claimed = (
        [task_id for task_id, outcome in outcomes.items() if outcome is wanted]
        for wanted in (Deletion.DELETED, Deletion.CANCELED, Deletion.CANCELING)
    )
    require_payloads(session, ended)
    cancelable = set(LIVE_TASKS) - {TaskStatus.CANCELING}
    _request_cancels(session, [task.id for task in tasks if task.status in cancelable])
    if unclaimed:
        removals.finish_cancels(session, unclaimed, 0)
    if ended:
        session.execute(delete(Task).where(Task.id.in_(ended)))
    if ended or claimed:
        removals.request_each(session, [*ended, *claimed])
    return set(outcomes.values())


def _outcome(task: Task) -> Deletion:
    if task.status not in LIVE_TASKS:
        return Deletion.DELETED
    return Deletion.CANCELING if task.attempt > 0 else Deletion.CANCELED


def _request_cancels(session: ScopedSession, task_ids: Sequence[uuid.UUID]) -> None:
    if not task_ids:
        return
    values = {
        "status": TaskStatus.CANCELING,
        "cancel_requested_at": func.now(),
        "updated_at": func.now(),
    }
    session.execute(update(Task).where(Task.id.in_(task_ids)).values(values))
    record_each(session, task_ids, EventKind.CANCEL_REQUESTED)
