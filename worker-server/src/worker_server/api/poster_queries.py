"""What posters and contact sheets are made of: the finished parts of a task."""

import uuid
from typing import NamedTuple

from sqlalchemy import exists, select

from worker_server.api.queries import TaskNotFound
from worker_server.db import transaction
from worker_server.models import Part, Task
from worker_server.models.statuses import PartStatus


class PosterNotFound(Exception):
    """The clip has no poster: none could be made, or a release before 0.2.0 has published it."""


class PublishedPart(NamedTuple):
    """A part whose clip is at `path` below the share."""

    number: int
    start_s: float
    end_s: float
    path: str


def published_parts(owner_id: int, task_id: uuid.UUID) -> list[PublishedPart]:
    """Return the finished parts in order; raise TaskNotFound."""
    owned = exists().where(Task.id == task_id, Task.owner_id == owner_id)
    columns = (Part.number, Part.start_s, Part.end_s, Part.path)
    where = (Part.task_id == task_id, Part.status == PartStatus.DONE)
    # Its end returns the connection, which the drawing of a sheet would keep.
    with transaction() as session:
        if not session.scalar(select(owned)):
            raise TaskNotFound
        rows = session.execute(select(*columns).where(*where).order_by(Part.number)).all()
    return [PublishedPart(*row) for row in rows]
