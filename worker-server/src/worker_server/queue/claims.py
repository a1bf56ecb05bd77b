"""Claims: a worker takes the next task or part, under a lease and a new attempt number."""

import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Self

from sqlalchemy import RowMapping

from worker_server.db import transaction
from worker_server.queue.statements import load

_CLAIM_TASK = load("claim_task")
_CLAIM_PART = load("claim_part")


class Kind(StrEnum):
    """The kinds of work; each has workers of its own, and a queue in Redis of this name."""

    FETCH = "fetch"
    RENDER = "render"


@dataclass(frozen=True)
class TaskLease:
    """The right to fetch a task, under one attempt; `worker` is who has claimed it, if known.

    A failover may undo a claim, whose attempt another worker then gets.
    """

    kind: ClassVar = Kind.FETCH
    number: ClassVar[None] = None  # only parts have one
    task_id: uuid.UUID
    attempt: int
    worker: str | None = field(default=None, compare=False)

    @classmethod
    def from_row(cls, row: RowMapping) -> Self:
        """Return the lease in a row with `task_id`, `attempt` and, of a claim, `worker`."""
        return cls(row["task_id"], row["attempt"], row.get("worker"))


@dataclass(frozen=True)
class PartLease:
    """The right to render one part of a task, under one attempt; `worker` as in `TaskLease`."""

    kind: ClassVar = Kind.RENDER
    task_id: uuid.UUID
    attempt: int
    number: int
    worker: str | None = field(default=None, compare=False)

    @classmethod
    def from_row(cls, row: RowMapping) -> Self:
        """Return the lease in a row with `task_id`, `attempt`, `number` and `worker`."""
        return cls(row["task_id"], row["attempt"], row["number"], row.get("worker"))


Lease = TaskLease | PartLease


@dataclass(frozen=True)
class TaskClaim:
    """A task to fetch; with a `source_path` it was fetched before, and is only to be planned."""

    lease: TaskLease
    url: str
    request_id: str | None
    traceparent: str | None
    edit: dict[str, Any] | None = None
    source: dict[str, Any] | None = None
    source_path: str | None = None

    @classmethod
    def from_row(cls, row: RowMapping) -> Self:
        """Return the claim in a row of claim_task.sql."""
        origin = (row["request_id"], row["traceparent"])
        fetched = (row["source"], row["source_path"])
        return cls(TaskLease.from_row(row), row["url"], *origin, row["edit"], *fetched)


@dataclass(frozen=True)
class PartClaim:
    """A part to render; `source` is `media.Source.to_json`'s, `source_path` is below the share.

    `edit` is without `segments`: the part is already cut from one of them. `live_parts`
    is how many parts of all tasks waited or were rendered when it was claimed, itself included;
    above 8 not all are counted.
    """

    lease: PartLease
    start_frame: int
    end_frame: int
    source: dict[str, Any]
    source_path: str
    request_id: str | None
    traceparent: str | None
    edit: dict[str, Any] | None = None
    owner_id: int = 0
    live_parts: int = 8

    @classmethod
    def from_row(cls, row: RowMapping) -> Self:
        """Return the claim in a row of claim_part.sql."""
        frames = (row["start_frame"], row["end_frame"])
        source = (row["source"], row["source_path"])
        origin = (row["request_id"], row["traceparent"])
        rest = (row["edit"], row["owner_id"], row["live_parts"])
        return cls(PartLease.from_row(row), *frames, *source, *origin, *rest)


def claim_task(worker: str, lease_s: float) -> TaskClaim | None:
    """Claim the next queued task in fair order; None when there is none."""
    with transaction() as session:
        row = session.execute(_CLAIM_TASK, _parameters(worker, lease_s)).mappings().one_or_none()
    return TaskClaim.from_row(row) if row else None


def claim_part(worker: str, lease_s: float, max_side: int | None = None) -> PartClaim | None:
    """Claim the next waiting part in fair order; None when there is none.

    With `max_side` parts of sources with larger pictures are left out.
    """
    values = {**_parameters(worker, lease_s), "max_side": max_side}
    with transaction() as session:
        row = session.execute(_CLAIM_PART, values).mappings().one_or_none()
    return PartClaim.from_row(row) if row else None


def _parameters(worker: str, lease_s: float) -> dict[str, str | float]:
    return {"worker": worker, "lease_s": lease_s}
