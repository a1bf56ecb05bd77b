"""What the sweeper and the metrics ask of the rows: leases that ran out, work that is due, files still needed."""

import uuid
from collections.abc import Collection
from pathlib import PurePath

from sqlalchemy import func, select

from worker_server.db import db, transaction
from worker_server.models import Part, Task
from worker_server.queue.claims import Lease, PartLease, TaskLease
from worker_server.queue.statements import load
from worker_server.queue.statuses import LIVE_TASKS, UNFINISHED_PARTS, PartStatus, TaskStatus

_EXPIRED_LEASES = load("expired_leases")


def expired_leases(lease_s: float) -> list[Lease]:
    """Return the leases that have run out; none within `lease_s` of PostgreSQL's start."""
    with transaction() as session:
        rows = session.execute(_EXPIRED_LEASES, {"lease_s": lease_s}).mappings()
        return [
            TaskLease.from_row(row) if row["number"] is None else PartLease.from_row(row)
            for row in rows
        ]


def canceling_tasks() -> list[uuid.UUID]:
    """Return the tasks that are being canceled."""
    with transaction() as session:
        return list(session.scalars(select(Task.id).where(Task.status == TaskStatus.CANCELING)))


def due_work(limit: int) -> tuple[int, int]:
    """Return how many tasks can be fetched now and how many parts rendered, each at most `limit`."""
    return _count_due(Task, TaskStatus.QUEUED, limit), _count_due(Part, PartStatus.WAITING, limit)


def unknown_ids(task_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of the ids that no task has."""
    with transaction() as session:
        return set(task_ids) - set(session.scalars(select(Task.id).where(Task.id.in_(task_ids))))


def needed_files(task_id: uuid.UUID) -> set[str] | None:
    """Return the names of the files in the task's folder that are still needed; None while the task is live."""
    with transaction() as session:
        status = session.scalar(select(Task.status).where(Task.id == task_id))
        if status in LIVE_TASKS:
            return None
        clips = select(Part.path).where(Part.task_id == task_id, Part.status == PartStatus.DONE)
        return {PurePath(path).name for path in session.scalars(clips) if path}


def count_by_status() -> dict[tuple[str, str], int]:
    """Return how many live tasks and unfinished parts there are, by kind and status."""
    # One status at a time: each then has an index of just its rows.
    tasks = {
        ("task", status): select(func.count()).where(Task.status == status) for status in LIVE_TASKS
    }
    parts = {
        ("part", status): select(func.count()).where(Part.status == status)
        for status in UNFINISHED_PARTS
    }
    return {key: db.session.scalar(query) or 0 for key, query in (tasks | parts).items()}


def _count_due(model: type[Task] | type[Part], status: str, limit: int) -> int:
    due = select(model.owner_id).where(model.status == status, model.run_after <= func.now())
    with transaction() as session:
        counted = select(func.count()).select_from(due.limit(limit).subquery())
        return session.scalar(counted) or 0
