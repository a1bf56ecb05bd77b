"""Heartbeats in PostgreSQL: which workers are alive, and how each sweeper step last ended."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import case, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from worker_server.db import transaction, transaction_without_flush
from worker_server.errors import FailureCode
from worker_server.models import Sweep, Worker
from worker_server.queue.sql_common import Values, seconds_from_now

HEARTBEAT_EVERY_S = 5.0
# A worker counts as dead after three missed heartbeats.
ALIVE_S = 3 * HEARTBEAT_EVERY_S
# How often the sweeper folds totals, and does what may wait, such as deleting expired tasks.
TOTALS_EVERY_S = 10.0
SLOW_INTERVAL_S = 600.0
_FORGET_S = 24 * 3600
# Name of the sweeper's step that reclaims leases.
LEASES_STEP = "leases"


@dataclass(frozen=True)
class Liveness:
    """Live workers by kind, internal faults by worker, and each sweeper step's last success.

    `sweep_ages_s` is by the database's clock; times (`…_at`) are in seconds since the epoch.
    `started_at` has the latest start of a live worker of each kind and host, `scratch_free_bytes`
    what each render worker reports.
    """

    workers: dict[str, int]
    faults: dict[str, str]
    sweep_ages_s: dict[str, float]
    sweeps_at: dict[str, float]
    started_at: dict[tuple[str, str], float]
    scratch_free_bytes: dict[str, int]


def record_heartbeat(
    name: str,
    kinds: list[str],
    scratch_free_bytes: int | None = None,
    *,
    is_first: bool = False,
    is_share_unavailable: bool = False,
) -> None:
    """Record that the worker is alive, and whether its machine can use the share.

    `is_first`: the process has just started. The row may be that of a killed one: in a container
    its successor has the same host name and pid. Later beats leave a fault of another kind.
    """
    values = {"kinds": kinds, "scratch_free_bytes": scratch_free_bytes}
    fault = _share_fault(is_unavailable=is_share_unavailable)
    statement = insert(Worker).values(name=name, **values, **fault)
    seen: Values = {"seen_at": func.now(), **values}
    if is_first:
        seen |= {"started_at": func.now(), **fault}
    else:
        seen |= _unless_another_fault(fault)
    with transaction_without_flush() as session:
        session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=seen))


def _share_fault(*, is_unavailable: bool) -> Values:
    code, at = (FailureCode.STORAGE_UNAVAILABLE, func.now()) if is_unavailable else (None, None)
    return {"fault_code": code, "fault_at": at}


def _unless_another_fault(fault: Values) -> Values:
    """Return the columns of `fault`; another fault stays, and so does the time of the same one."""
    is_noted = Worker.fault_code == FailureCode.STORAGE_UNAVAILABLE
    changes = is_noted if fault["fault_code"] is None else Worker.fault_code.is_(None)
    stored = {"fault_code": Worker.fault_code, "fault_at": Worker.fault_at}
    return {name: case((changes, value), else_=stored[name]) for name, value in fault.items()}


def leave(name: str) -> None:
    """Record that the worker has ended."""
    with transaction() as session:
        session.execute(delete(Worker).where(Worker.name == name))


def record_fault(name: str, code: str | None) -> None:
    """Record an internal fault of the worker, or, with None, that work has succeeded since."""
    where = [Worker.name == name]
    if code is None:
        where.append(Worker.fault_code.is_not(None))
    at = None if code is None else func.now()
    with transaction() as session:
        session.execute(update(Worker).where(*where).values(fault_code=code, fault_at=at))


def delete_dead() -> None:
    """Remove the rows of workers that were last seen long ago."""
    with transaction() as session:
        session.execute(delete(Worker).where(Worker.seen_at < seconds_from_now(-_FORGET_S)))


def record_step(step: str, worker: str, error: str | None) -> None:
    """Record that a step of the sweeper has ended, well or with an error."""
    outcome = {"error": error, "failed_at": func.now()} if error else {"done_at": func.now()}
    statement = insert(Sweep).values(step=step, worker=worker, **outcome)
    update_set = {"worker": worker, **outcome} if error else {"error": None, **outcome}
    with transaction_without_flush() as session:
        session.execute(statement.on_conflict_do_update(index_elements=["step"], set_=update_set))


def step_age_s(step: str) -> float | None:
    """Return how long ago the sweeper's step ended well; negative where the clock was set back."""
    age = func.extract("epoch", func.now() - Sweep.done_at)
    with transaction() as session:
        seconds = session.scalar(select(age).where(Sweep.step == step))
    return None if seconds is None else float(seconds)


def liveness() -> Liveness:
    """Return the live workers and the sweeper's steps, by the database's clock.

    A heartbeat in the future is from before that clock was set back: there was none since.
    """
    age = func.extract("epoch", func.now() - Sweep.done_at)
    is_alive = Worker.seen_at.between(seconds_from_now(-ALIVE_S), seconds_from_now(ALIVE_S))
    with transaction() as session:
        live = session.scalars(select(Worker).where(is_alive)).all()
        sweeps = session.execute(select(Sweep.step, age, Sweep.done_at)).all()
    return Liveness(
        workers=dict(Counter(kind for worker in live for kind in worker.kinds)),
        faults={worker.name: worker.fault_code for worker in live if worker.fault_code},
        sweep_ages_s={step: float(seconds) for step, seconds, _ in sweeps},
        sweeps_at={step: at.timestamp() for step, _, at in sweeps},
        started_at=_latest_starts(live),
        scratch_free_bytes={
            worker.name: worker.scratch_free_bytes
            for worker in live
            if worker.scratch_free_bytes is not None
        },
    )


def _latest_starts(live: Sequence[Worker]) -> dict[tuple[str, str], float]:
    starts: dict[tuple[str, str], float] = {}
    for worker in live:
        for kind in worker.kinds:
            of = (kind, worker.name.partition(":")[0])
            starts[of] = max(starts.get(of, 0.0), worker.started_at.timestamp())
    return starts
