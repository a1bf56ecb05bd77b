"""What a download reads: the part whose clip is requested, as a prepared query."""

import uuid
from dataclasses import dataclass

from worker_server.api.labels import default_name
from worker_server.api.queries import TaskNotFound
from worker_server.db import PreparedQuery, fetch_json
from worker_server.models.statuses import PartStatus

_MAX_PART_NUMBER = 2**31 - 1
_CLIP = PreparedQuery(
    "fetch_clip",
    "uuid, bigint, integer",
    """
    SELECT row_to_json(clip)::text FROM (
        SELECT tasks.name AS task_name, tasks.url,
            parts.status, parts.name, parts.path, parts.sha256,
            (SELECT max(number) + 1 FROM parts WHERE task_id = tasks.id) AS parts_total
        FROM tasks LEFT JOIN parts ON parts.task_id = tasks.id AND parts.number = $3
        WHERE tasks.id = $1 AND tasks.owner_id = $2
    ) AS clip
    """,
)


class PartNotFound(Exception):
    """The task has no such part."""


class PartNotReady(Exception):
    """The part is known, but its clip is not made yet."""


@dataclass(frozen=True)
class Clip:
    """A clip that can be downloaded: its file at `path` below the share, and names for it.

    `name` is its segment's, `task_name` is the caller's or is made of the URL, `parts_total` is the
    number of all parts of the task.
    """

    task_id: uuid.UUID
    number: int
    name: str | None
    task_name: str
    parts_total: int
    path: str
    sha256: str


def get_clip(owner_id: int, task_id: uuid.UUID, number: int) -> Clip:
    """Return the clip of a part.

    Raise TaskNotFound, PartNotFound or PartNotReady.
    """
    row = fetch_json(_CLIP, str(task_id), owner_id, min(number, _MAX_PART_NUMBER))
    if row is None:
        raise TaskNotFound
    if row["status"] is None:
        raise PartNotFound("The task has no part with this number.")
    if row["status"] != PartStatus.DONE:
        raise PartNotReady("This part is not made yet; try again later.")
    task_name = row["task_name"] or default_name(row["url"])
    return Clip(
        task_id,
        number,
        row["name"],
        task_name,
        row["parts_total"],
        row["path"] or "",
        row["sha256"] or "",
    )
