"""Signs of life in PostgreSQL: of workers, and of the sweeper's steps."""

from dataclasses import dataclass

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from worker_server.db import transaction
from worker_server.models import Sweep, Worker
from worker_server.queue.session import seconds_from_now

BEAT_S = 5.0
# A worker is taken for dead after three missed beats.
ALIVE_S = 3 * BEAT_S
_FORGET_S = 24 * 3600


@dataclass(frozen=True)
class Liveness:
    """Live workers by kind, faults of ours by worker, and each sweeper step's last success.

    `sweep_ages_s` is by the database's clock, `sweeps_at` in seconds since the epoch.
    """

    workers: dict[str, int]
    faults: dict[str, str]
    sweep_ages_s: dict[str, float]
    sweeps_at: dict[str, float]


def beat(name: str, kinds: list[str]) -> None:
    """Note that the worker is alive."""
    seen = {"seen_at": func.now(), "kinds": kinds}
    statement = insert(Worker).values(name=name, kinds=kinds)
    with transaction() as session:
        session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=seen))


def leave(name: str) -> None:
    """Note that the worker has ended."""
    with transaction() as session:
        session.execute(delete(Worker).where(Worker.name == name))


def note_fault(name: str, code: str | None) -> None:
    """Note that the worker met a fault of ours, or, with None, that work has succeeded since."""
    where = [Worker.name == name]
    if code is None:
        where.append(Worker.fault_code.is_not(None))
    at = None if code is None else func.now()
    with transaction() as session:
        session.execute(update(Worker).where(*where).values(fault_code=code, fault_at=at))


def forget_dead() -> None:
    """Remove the rows of workers that were last seen long ago."""
    with transaction() as session:
        session.execute(delete(Worker).where(Worker.seen_at < seconds_from_now(-_FORGET_S)))


def note_step(step: str, worker: str, error: str | None) -> None:
    """Note that a step of the sweeper has ended, well or with an error."""
    outcome = {"error": error, "failed_at": func.now()} if error else {"done_at": func.now()}
    statement = insert(Sweep).values(step=step, worker=worker, **outcome)
    update_set = {"worker": worker, **outcome} if error else {"error": None, **outcome}
    with transaction() as session:
        session.execute(statement.on_conflict_do_update(index_elements=["step"], set_=update_set))


def liveness() -> Liveness:
    """Return who is alive, by the database's clock."""
    age = func.extract("epoch", func.now() - Sweep.done_at)
    with transaction() as session:
        alive = session.execute(
            select(Worker.name, Worker.kinds, Worker.fault_code).where(
                Worker.seen_at > seconds_from_now(-ALIVE_S)
            )
        ).all()
        sweeps = session.execute(select(Sweep.step, age, Sweep.done_at)).all()
    workers: dict[str, int] = {}
    for row in alive:
        for kind in row.kinds:
            workers[kind] = workers.get(kind, 0) + 1
    faults = {row.name: row.fault_code for row in alive if row.fault_code}
    ages_s = {step: float(seconds) for step, seconds, _ in sweeps}
    return Liveness(workers, faults, ages_s, {step: at.timestamp() for step, _, at in sweeps})
