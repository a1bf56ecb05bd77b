"""Pauses: while a kind of work is paused, workers finish what they claimed and claim no more."""

from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from worker_server.db import transaction
from worker_server.models import Part, QueuePause, Task
from worker_server.models.statuses import PartStatus, TaskStatus
from worker_server.queue.claims import Kind
from worker_server.queue.planning import NEVER


@dataclass(frozen=True)
class KindStatus:
    """Whether the kind is paused, and how many tasks or parts wait and are worked on."""

    is_paused: bool
    waiting: int
    running: int


def pause(kind: Kind) -> None:
    """Have workers claim no more of this kind."""
    with transaction() as session:
        session.execute(insert(QueuePause).values(kind=kind).on_conflict_do_nothing())


def resume(kind: Kind) -> None:
    """Have workers claim it again; the sweeper wakes them."""
    with transaction() as session:
        session.execute(delete(QueuePause).where(QueuePause.kind == kind))


def is_paused(kind: Kind) -> bool:
    """Return whether the kind is paused."""
    with transaction() as session:
        return session.get(QueuePause, kind) is not None


def paused() -> dict[Kind, bool]:
    """Return for each kind whether it is paused."""
    with transaction() as session:
        stored = set(session.scalars(select(QueuePause.kind)))
    return {kind: kind in stored for kind in Kind}


def status_of(kind: Kind) -> KindStatus:
    """Return the state of this kind of work.

    Parts of a planned task wait for their caller, not for a worker: they are not counted.
    """
    if kind is Kind.FETCH:
        waiting = [Task.status == TaskStatus.QUEUED]
        is_running = Task.status == TaskStatus.DOWNLOADING
    else:
        waiting = [Part.status == PartStatus.WAITING, Part.run_after < NEVER]
        is_running = Part.status == PartStatus.RENDERING
    queries = (select(func.count()).where(*waiting), select(func.count()).where(is_running))
    with transaction() as session:
        counts = [session.scalar(query) or 0 for query in queries]
    return KindStatus(is_paused(kind), *counts)
