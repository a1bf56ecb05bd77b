"""What the API asks of the database: accept, list, show and delete tasks. What workers write is in `leases`."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any, NamedTuple, TypedDict

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from worker_server.db import PreparedQuery, db, fetch_json, transaction
from worker_server.models import LIVE_STATUSES, Part, Task
from worker_server.queue.leases import finish_cancel

# What callers are told of a task, times as they get them (ISO 8601, milliseconds, UTC).
_TIME = """to_char(tasks.{0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS {0}"""
_FACTS = f"""tasks.id, tasks.url, tasks.status, tasks.progress, tasks.attempt, tasks.error_code, tasks.error_message,
    tasks.source, {", ".join(map(_TIME.format, ("created_at", "started_at", "finished_at", "updated_at")))}"""
# Each look is one statement, so one round trip, and its answer one text: the driver would make each column an object.
_TASK = PreparedQuery(
    "fetch_task",
    "uuid, bigint",
    f"""
    SELECT row_to_json(task)::text FROM (
        SELECT {_FACTS}, (
            SELECT json_agg(part ORDER BY number) FROM (
                SELECT number, status, progress, start_s, end_s, attempt, size_bytes, sha256, frames, rendered_by,
                    error_code, error_message
                FROM parts WHERE task_id = tasks.id
            ) AS part
        ) AS parts
        FROM tasks WHERE id = $1 AND owner_id = $2
    ) AS task
    """,  # noqa: S608 # made of constants
)
_LIST = """
    SELECT json_agg(task)::text FROM (
        SELECT {facts}, totals.* FROM (
            SELECT * FROM tasks WHERE owner_id = $1 ORDER BY created_at {order}, id {order} LIMIT $2
        ) AS tasks CROSS JOIN LATERAL (
            SELECT count(*) AS parts_total, count(*) FILTER (WHERE status = 'done') AS parts_done,
                coalesce(avg(progress), 0)::float8 AS parts_progress
            FROM parts WHERE task_id = tasks.id
        ) AS totals ORDER BY tasks.created_at {order}, tasks.id {order}
    ) AS task
"""
_NEWEST_FIRST = PreparedQuery(
    "list_newest_first", "bigint, bigint", _LIST.format(facts=_FACTS, order="DESC")
)
_OLDEST_FIRST = PreparedQuery(
    "list_oldest_first", "bigint, bigint", _LIST.format(facts=_FACTS, order="ASC")
)

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


class PartFacts(TypedDict):
    """A part as the database tells of it."""

    number: int
    status: str
    progress: int
    start_s: float
    end_s: float
    attempt: int
    size_bytes: int | None
    sha256: str | None
    frames: int | None
    rendered_by: str | None
    error_code: str | None
    error_message: str | None


class TaskFacts(TypedDict):
    """A task as the database tells of it; times are as callers get them."""

    id: str
    url: str
    status: str
    progress: int
    attempt: int
    error_code: str | None
    error_message: str | None
    source: dict[str, Any] | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    updated_at: str


class PartTotals(NamedTuple):
    """How far the parts of a task are: `progress` is their mean, 0 to 100."""

    total: int = 0
    done: int = 0
    progress: float = 0

    @classmethod
    def of(cls, parts: Collection[PartFacts]) -> "PartTotals":
        """Return the totals of parts that were read already."""
        if not parts:
            return cls()
        done = sum(part["status"] == "done" for part in parts)
        return cls(len(parts), done, sum(part["progress"] for part in parts) / len(parts))


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
        insert(Task)
        .values(row)
        .on_conflict_do_nothing(index_elements=same_key, index_where=keyed)
        .returning(Task)
    )
    with transaction() as session:
        _forget_old_key(submission)
        created = session.scalar(statement)
        if created is not None:
            session.expunge(
                created
            )  # as it was accepted: it must not be read again after a worker took it
            return created, True
        return _same_submission(submission), False


def facts_of(task: Task) -> TaskFacts:
    """Return what the database would tell of a task as it was accepted."""
    accepted_at = (
        task.created_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
    return TaskFacts(
        id=str(task.id),
        url=task.url,
        status=task.status,
        progress=task.progress,
        attempt=task.attempt,
        error_code=None,
        error_message=None,
        source=None,
        created_at=accepted_at,
        started_at=None,
        finished_at=None,
        updated_at=accepted_at,
    )


def list_tasks(
    owner_id: int, limit: int, *, newest_first: bool
) -> list[tuple[TaskFacts, PartTotals]]:
    """Return the owner's tasks by time of creation, each with how far its parts are."""
    tasks = fetch_json(_NEWEST_FIRST if newest_first else _OLDEST_FIRST, owner_id, limit) or ()
    return [
        (task, PartTotals(task["parts_total"], task["parts_done"], task["parts_progress"]))
        for task in tasks
    ]


def get_task(owner_id: int, task_id: uuid.UUID) -> tuple[TaskFacts, list[PartFacts]]:
    """Return the task and its parts in order, none before the source is there; raise TaskNotFound."""
    task = fetch_json(_TASK, str(task_id), owner_id)
    if task is None:
        raise TaskNotFound("There is no task with this id.")
    return task, task["parts"] or []


def get_finished_part(owner_id: int, task_id: uuid.UUID, number: int) -> Part:
    """Return a part whose clip can be downloaded; raise TaskNotFound, PartNotFound or PartNotReady."""
    this = (Part.task_id == Task.id) & (Part.number == min(number, _MAX_PART_NUMBER))
    mine = select(Task.id, Part).outerjoin(Part, this)
    row = db.session.execute(
        mine.where(Task.id == task_id, Task.owner_id == owner_id)
    ).one_or_none()
    if row is None:
        raise TaskNotFound("There is no task with this id.")
    part: Part | None = row.Part
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
            update(Task)
            .where(Task.id == task_id)
            .values(status="canceling", updated_at=func.now()),
        )
    return "canceled" if finish_cancel(task_id) else "canceling"


def count_by_status() -> dict[tuple[str, str], int]:
    """Return how many live tasks and unfinished parts there are, by kind and status."""
    # One status at a time: each then has an index of just its rows.
    tasks = {
        ("task", status): select(func.count()).where(Task.status == status)
        for status in LIVE_STATUSES
    }
    parts = {
        ("part", status): select(func.count()).where(Part.status == status)
        for status in ("waiting", "rendering")
    }
    return {key: db.session.scalar(query) or 0 for key, query in (tasks | parts).items()}


def ping() -> None:
    """Raise when the database does not answer."""
    db.session.execute(select(1))


def _forget_old_key(submission: Submission) -> None:
    if submission.idempotency_key is None:
        return
    old = func.now() - timedelta(hours=IDEMPOTENCY_HOURS)
    mine = (
        Task.owner_id == submission.owner_id,
        Task.idempotency_key == submission.idempotency_key,
    )
    db.session.execute(
        update(Task).where(*mine, Task.created_at < old).values(idempotency_key=None)
    )


def _same_submission(submission: Submission) -> Task:
    mine = (
        Task.owner_id == submission.owner_id,
        Task.idempotency_key == submission.idempotency_key,
    )
    task = db.session.scalars(select(Task).where(*mine)).one()
    if task.idempotency_body_sha256 != submission.body_sha256:
        raise IdempotencyKeyReused("This Idempotency-Key came before with another body.")
    return task
