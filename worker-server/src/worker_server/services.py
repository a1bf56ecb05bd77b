"""What the API asks of the database: accept, list, show and delete tasks. What workers write is in `leases`."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Integer, cast, func, select, update
from sqlalchemy.dialects.postgresql import insert

from worker_server.db import db, transaction
from worker_server.leases import finish_cancel
from worker_server.models import LIVE_STATUSES, Part, Task

IDEMPOTENCY_HOURS = 24
_MAX_PART_NUMBER = 2**31 - 1


class TaskNotFound(Exception):
    """There is no such task, or it is somebody else's: the two must not be told apart."""


class PartNotFound(Exception):
    """The task has no such part."""


class PartNotReady(Exception):
    """The part is known, but its clip is not made yet."""


class IdempotencyKeyReused(Exception):
    """The key came before, with another body."""


@dataclass(frozen=True)
class PartTotals:
    """How far the parts of a task are: `progress` is their mean, 0 to 100."""

    total: int = 0
    done: int = 0
    progress: float = 0

    @classmethod
    def of(cls, parts: Collection[Part]) -> "PartTotals":
        """Return the totals of parts that were read already."""
        if not parts:
            return cls()
        done = sum(part.status == "done" for part in parts)
        return cls(len(parts), done, sum(part.progress for part in parts) / len(parts))


@dataclass(frozen=True)
class Submission:
    """A task to be accepted; `body_sha256` tells a repeated request from another one under the same key."""

    owner_id: int
    url: str
    request_id: str | None = None
    idempotency_key: str | None = None
    body_sha256: str | None = None


def create_task(submission: Submission) -> tuple[Task, bool]:
    """Store the task and return it, and whether it is new: the same key and body give the first task again.

    Raises IdempotencyKeyReused.
    """
    row = {
        "id": uuid.uuid4(),
        "owner_id": submission.owner_id,
        "url": submission.url,
        "request_id": submission.request_id,
        "idempotency_key": submission.idempotency_key,
        "idempotency_body_sha256": submission.body_sha256,
    }
    same_key = ["owner_id", "idempotency_key"]
    keyed = Task.idempotency_key.is_not(None)
    statement = (
        insert(Task).values(row).on_conflict_do_nothing(index_elements=same_key, index_where=keyed).returning(Task)
    )
    with transaction() as session:
        _forget_old_key(submission)
        created = session.scalar(statement)
        if created is not None:
            return created, True
        return _same_submission(submission), False


def list_tasks(owner_id: int, limit: int, *, newest_first: bool) -> list[Task]:
    """Return the owner's tasks by time of creation."""
    keys = (Task.created_at, Task.id)
    order = [key.desc() for key in keys] if newest_first else list(keys)
    return list(db.session.scalars(select(Task).where(Task.owner_id == owner_id).order_by(*order).limit(limit)))


def part_totals(task_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, PartTotals]:
    """Return how far the parts are of each task that has any, in one query."""
    done = func.sum(cast(Part.status == "done", Integer))
    query = select(Part.task_id, func.count(), done, func.avg(Part.progress)).group_by(Part.task_id)
    rows = db.session.execute(query.where(Part.task_id.in_(task_ids)))
    return {task_id: PartTotals(total, done, float(progress)) for task_id, total, done, progress in rows}


def get_task(owner_id: int, task_id: uuid.UUID) -> Task:
    """Return the task; raise TaskNotFound."""
    task = db.session.scalar(select(Task).where(Task.id == task_id, Task.owner_id == owner_id))
    if task is None:
        raise TaskNotFound("There is no task with this id.")
    return task


def get_parts(task_id: uuid.UUID) -> list[Part]:
    """Return the parts in order; none before the source is there."""
    return list(db.session.scalars(select(Part).where(Part.task_id == task_id).order_by(Part.number)))


def get_finished_part(owner_id: int, task_id: uuid.UUID, number: int) -> Part:
    """Return a part whose clip can be downloaded; raise TaskNotFound, PartNotFound or PartNotReady."""
    task = get_task(owner_id, task_id)
    part = db.session.get(Part, (task.id, number)) if number <= _MAX_PART_NUMBER else None
    if part is None:
        raise PartNotFound("The task has no part with this number.")
    if part.status != "done":
        raise PartNotReady("This part is not made yet; ask again later.")
    return part


def delete_task(owner_id: int, task_id: uuid.UUID) -> str:
    """Abort a live task, or forget a finished one. The caller removes the files unless a worker still holds some.

    Returns `canceled`, `canceling` (a worker has to let go first) or `deleted`; raises TaskNotFound.
    """
    with transaction() as session:
        mine = select(Task).where(Task.id == task_id, Task.owner_id == owner_id).with_for_update()
        task = session.scalar(mine)
        if task is None:
            raise TaskNotFound("There is no task with this id.")
        if task.status not in LIVE_STATUSES:
            session.delete(task)
            return "deleted"
        session.execute(
            update(Task).where(Task.id == task_id).values(status="canceling", updated_at=func.now()),
        )
    return "canceled" if finish_cancel(task_id) else "canceling"


def count_by_status() -> dict[tuple[str, str], int]:
    """Return how many live tasks and unfinished parts there are, by kind and status."""
    # One status at a time: each then has an index of just its rows.
    tasks = {("task", status): select(func.count()).where(Task.status == status) for status in LIVE_STATUSES}
    parts = {("part", status): select(func.count()).where(Part.status == status) for status in ("waiting", "rendering")}
    return {key: db.session.scalar(query) or 0 for key, query in (tasks | parts).items()}


def ping() -> None:
    """Raise when the database does not answer."""
    db.session.execute(select(1))


def _forget_old_key(submission: Submission) -> None:
    if submission.idempotency_key is None:
        return
    old = func.now() - timedelta(hours=IDEMPOTENCY_HOURS)
    mine = (Task.owner_id == submission.owner_id, Task.idempotency_key == submission.idempotency_key)
    db.session.execute(update(Task).where(*mine, Task.created_at < old).values(idempotency_key=None))


def _same_submission(submission: Submission) -> Task:
    mine = (Task.owner_id == submission.owner_id, Task.idempotency_key == submission.idempotency_key)
    task = db.session.scalars(select(Task).where(*mine)).one()
    if task.idempotency_body_sha256 != submission.body_sha256:
        raise IdempotencyKeyReused("This Idempotency-Key came before with another body.")
    return task
