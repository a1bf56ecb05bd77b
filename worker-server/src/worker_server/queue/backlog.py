"""Queries of the sweeper and the metrics: expired leases, due work, files still needed."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

from sqlalchemy import ColumnElement, RowMapping, func, select

from worker_server.db import db, transaction
from worker_server.models import Part, Removal, Task
from worker_server.models.statuses import LIVE_TASKS, UNFINISHED_PARTS, PartStatus, TaskStatus
from worker_server.queue.claims import Kind, Lease, PartLease, TaskLease
from worker_server.queue.planning import NEVER
from worker_server.queue.statements import load

_EXPIRED_LEASES = load("expired_leases")


@dataclass(frozen=True)
class ExpiredLease:
    """A lease that has run out, and the worker that held it (`host:pid`)."""

    lease: Lease
    worker: str

    @property
    def host(self) -> str:
        """The machine or the container that the worker ran on."""
        return self.worker.partition(":")[0]

    @classmethod
    def from_row(cls, row: RowMapping) -> Self:
        """Return the lease in a row of expired_leases.sql."""
        kind = TaskLease if row["number"] is None else PartLease
        return cls(kind.from_row(row), row["worker"] or "")


def expired_leases(lease_s: float) -> list[ExpiredLease]:
    """Return the leases that have run out; none within `lease_s` of PostgreSQL's start."""
    with transaction() as session:
        rows = session.execute(_EXPIRED_LEASES, {"lease_s": lease_s}).mappings()
        return [ExpiredLease.from_row(row) for row in rows]


def due_work(limit: int) -> tuple[int, int]:
    """Return the numbers of tasks to fetch and parts to render now, each at most `limit`."""
    return _count_due(Task, TaskStatus.QUEUED, limit), _count_due(Part, PartStatus.WAITING, limit)


def unknown_ids(task_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of the ids that no task has."""
    with transaction() as session:
        return set(task_ids) - set(session.scalars(select(Task.id).where(Task.id.in_(task_ids))))


def count_by_status() -> dict[tuple[str, str], int]:
    """Return how many live tasks and unfinished parts there are, by kind and status.

    Parts of a planned task wait for their caller, not for a worker: they are not counted.
    """
    # One query per status: each can then use a partial index.
    tasks = {
        ("task", status): select(func.count()).where(Task.status == status) for status in LIVE_TASKS
    }
    parts = {
        ("part", status): select(func.count()).where(Part.status == status, Part.run_after < NEVER)
        for status in UNFINISHED_PARTS
    }
    return {key: db.session.scalar(query) or 0 for key, query in (tasks | parts).items()}


def oldest_due_s() -> dict[Kind, float]:
    """Return how long the oldest due task and part have waited, in seconds; 0 where none waits."""
    waiting: dict[Kind, tuple[type[Task] | type[Part], ColumnElement[bool]]] = {
        Kind.FETCH: (Task, Task.status == TaskStatus.QUEUED),
        Kind.RENDER: (Part, Part.status == PartStatus.WAITING),
    }
    ages = {}
    with transaction() as session:
        for kind, (model, is_waiting) in waiting.items():
            since = func.greatest(model.run_after, model.created_at)
            age = func.extract("epoch", func.now() - func.min(since))
            due = select(age).where(is_waiting, model.run_after <= func.now())
            ages[kind] = float(session.scalar(due) or 0)
    return ages


def count_removals() -> int:
    """Return how many tasks have files that are still to be removed."""
    with transaction() as session:
        return session.scalar(select(func.count()).select_from(Removal)) or 0


def _count_due(model: type[Task] | type[Part], status: str, limit: int) -> int:
    due = select(model.owner_id).where(model.status == status, model.run_after <= func.now())
    with transaction() as session:
        counted = select(func.count()).select_from(due.limit(limit).subquery())
        return session.scalar(counted) or 0
