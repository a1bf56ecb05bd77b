"""What `/ready` checks: each raises an exception whose name says what is wrong.

docs/operations.md has what to do.
"""

import math

import redis

from idrl_common.database import readiness_checks
from idrl_common.health import Check
from worker_server.db import transaction
from worker_server.media import sandbox_report
from worker_server.queue import workers
from worker_server.queue.claims import Kind
from worker_server.settings import Settings
from worker_server.share_monitor import ShareMonitor
from worker_server.storage import ShareFull

_MIN_SWEEP_AGE_S = 15.0
# Steps of the sweeper without which tasks stop.
_STEPS = (workers.LEASES_STEP, "wakeups", "files")
# Seconds between two rounds of those without which tables and the share fill up.
_SLOW_STEPS = {
    "totals": workers.TOTALS_EVERY_S,
    "expired": workers.SLOW_INTERVAL_S,
    "rows": workers.SLOW_INTERVAL_S,
}


class NoSandbox(Exception):
    """The sandbox of the decoders does not hold on this machine."""


class SweeperLate(Exception):
    """A step of the sweeper has not succeeded for three rounds, nor for _MIN_SWEEP_AGE_S.

    Nor since the clock was set back, where its last success lies in the future.
    """


class NoLiveWorker(Exception):
    """No worker of this kind has had a recent heartbeat."""


class WorkerFault(Exception):
    """A live worker has had an internal fault, and no work has succeeded there since.

    Or its machine cannot use the share.
    """


def checks(settings: Settings, share: ShareMonitor, client: redis.Redis) -> dict[str, Check]:
    """Return what the service depends on; it accepts tasks with the database alone."""
    return {
        **readiness_checks(transaction),
        "redis": Check(lambda: _ping(client), required=False),
        "sandbox": Check(_check_sandbox, required=False),
        "share": Check(lambda: _check_share(share), required=False),
        "share_space": Check(lambda: _check_space(share), required=False),
        "sweeper": Check(lambda: _check_sweeper(settings), required=False),
        "fetch_worker": Check(lambda: _check_worker(Kind.FETCH), required=False),
        "render_worker": Check(lambda: _check_worker(Kind.RENDER), required=False),
        "faults": Check(_check_no_faults, required=False),
    }


def _ping(client: redis.Redis) -> None:
    client.ping()


def _check_sandbox() -> None:
    if not sandbox_report().holds:
        raise NoSandbox


def _check_share(share: ShareMonitor) -> None:
    error = share.check().error
    if error is not None and not isinstance(error, ShareFull):
        raise error


def _check_space(share: ShareMonitor) -> None:
    error = share.last().error
    if isinstance(error, ShareFull):
        raise error


def _check_sweeper(settings: Settings) -> None:
    ages_s = workers.liveness().sweep_ages_s
    intervals_s = {**dict.fromkeys(_STEPS, settings.sweep_s), **_SLOW_STEPS}
    late = [
        step
        for step, every_s in intervals_s.items()
        if not -_MIN_SWEEP_AGE_S < ages_s.get(step, math.inf) <= max(3 * every_s, _MIN_SWEEP_AGE_S)
    ]
    if late:
        raise SweeperLate(", ".join(late))


def _check_worker(kind: str) -> None:
    if not workers.liveness().workers.get(kind):
        raise NoLiveWorker(kind)


def _check_no_faults() -> None:
    faults = workers.liveness().faults
    if faults:
        raise WorkerFault(", ".join(sorted(faults)))
