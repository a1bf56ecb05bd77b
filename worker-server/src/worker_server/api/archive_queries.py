"""What manifests and ZIPs are made of: the finished parts of one task or of several."""

import uuid
from collections.abc import Collection

from sqlalchemy import update

from worker_server.api.batch_queries import get_batch
from worker_server.api.long_documents import fetch_json
from worker_server.api.queries import EXPIRY, FACTS, PartFacts, TaskFacts, TaskNotFound
from worker_server.db import PreparedQuery, transaction
from worker_server.models import Part
from worker_server.models.statuses import PartStatus

_TASKS = f"""
    SELECT json_agg(task ORDER BY created_us, id)::text FROM (
        SELECT {FACTS}, tasks.edit, extract(epoch FROM tasks.created_at) AS created_us,
            (SELECT max(number) + 1 FROM parts WHERE task_id = tasks.id) AS parts_total, (
            SELECT json_agg(part ORDER BY number) FROM (
                SELECT number, segment, name, status, start_s, end_s, start_frame, end_frame,
                    size_bytes, sha256, crc32, frames, rendered_by, concealed_frames, path
                FROM parts WHERE task_id = tasks.id AND status = '{PartStatus.DONE}'
            ) AS part
        ) AS parts
        FROM tasks {EXPIRY} WHERE owner_id = $1 AND {{condition}}
    ) AS task
"""  # noqa: S608 # made of constants
_OF_TASK = PreparedQuery("archive_task", "bigint, uuid", _TASKS.format(condition="tasks.id = $2"))
_BATCH = PreparedQuery("archive_batch", "bigint, uuid", _TASKS.format(condition="batch_id = $2"))
_CHOSEN = PreparedQuery(
    "archive_tasks", "bigint, text[]", _TASKS.format(condition="tasks.id = ANY ($2::uuid[])")
)


class FinishedPart(PartFacts):
    """A part that is done; `crc32` is None where a release before 0.2.0 has published it."""

    start_frame: int
    end_frame: int
    crc32: int | None
    path: str


class ArchivedTask(TaskFacts):
    """A task with its finished parts in order; `parts` is None where none is finished.

    `parts_total` is the number of all parts, None until they are planned.
    """

    parts_total: int | None
    parts: list[FinishedPart] | None


def task_to_archive(owner_id: int, task_id: uuid.UUID) -> ArchivedTask:
    """Return the task; raise TaskNotFound."""
    tasks: list[ArchivedTask] | None = fetch_json(_OF_TASK, owner_id, str(task_id))
    if not tasks:
        raise TaskNotFound
    return tasks[0]


def tasks_of_batch(owner_id: int, batch_id: uuid.UUID) -> list[ArchivedTask]:
    """Return the batch's tasks in order; raise BatchNotFound."""
    tasks: list[ArchivedTask] | None = fetch_json(_BATCH, owner_id, str(batch_id))
    if not tasks:
        get_batch(owner_id, batch_id)
    return tasks or []


def tasks_to_archive(owner_id: int, task_ids: Collection[uuid.UUID]) -> list[ArchivedTask]:
    """Return the tasks, oldest first; raise TaskNotFound where one of them is missing."""
    wanted = {str(task_id) for task_id in task_ids}
    tasks: list[ArchivedTask] | None = fetch_json(_CHOSEN, owner_id, sorted(wanted))
    if not tasks or len(tasks) < len(wanted):
        raise TaskNotFound
    return tasks


def store_crc32(task_id: str, part: FinishedPart, crc32: int) -> None:
    """Keep the CRC-32 of a clip that was published without one."""
    where = (Part.task_id == uuid.UUID(task_id), Part.number == part["number"])
    statement = update(Part).where(*where, Part.path == part["path"]).values(crc32=crc32)
    with transaction() as session:
        session.execute(statement)
