"""The parts of a task as rows: planned, and kept or replaced when the source was fetched again."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from worker_server.models import Part
from worker_server.models.statuses import PartStatus
from worker_server.queue.sql_common import ScopedSession, error_cleared


@dataclass(frozen=True)
class PlannedPart:
    """A planned part: the source's frames `[start_frame, end_frame)`, and times in seconds.

    `segment` is the index of its segment in the edit, `name` that segment's name.
    """

    number: int
    start_frame: int
    end_frame: int
    start_s: float
    end_s: float
    segment: int | None = None
    name: str | None = None


@dataclass(frozen=True)
class Clip:
    """A published part; `path` is below the share."""

    path: str
    size_bytes: int
    sha256: str
    frames: int
    rendered_by: Literal["copy", "encode"]
    concealed_frames: int = 0
    crc32: int | None = None


def store(
    session: ScopedSession,
    task_id: uuid.UUID,
    owner_id: int,
    parts: Sequence[PlannedPart],
    run_after: ColumnElement[datetime],
) -> None:
    """Insert the parts, to be rendered from `run_after` on.

    Parts of an earlier plan stay if the plan is the same; those that failed wait again.
    """
    attempt = 0
    planned = {(part.number, part.start_frame, part.end_frame) for part in parts}
    of_task = Part.task_id == task_id
    stored = select(Part.number, Part.start_frame, Part.end_frame).where(of_task)
    if not {tuple(row) for row in session.execute(stored)} <= planned:
        # The source has changed. File names contain the attempt, so its number must not repeat.
        attempt = session.scalar(select(func.max(Part.attempt)).where(of_task)) or 0
        session.execute(delete(Part).where(of_task))
    values = {
        "status": PartStatus.WAITING,
        "failures": 0,
        "progress": 0,
        "run_after": run_after,
        "finished_at": None,
        **error_cleared(),
    }
    session.execute(update(Part).where(of_task, Part.status != PartStatus.DONE).values(values))
    key = {"task_id": task_id, "owner_id": owner_id, "attempt": attempt}
    rows = [{**key, **vars(part)} for part in parts]
    session.execute(insert(Part).values(run_after=run_after).on_conflict_do_nothing(), rows)
