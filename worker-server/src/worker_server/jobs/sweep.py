"""The sweeper: takes back leases of dead workers, finishes cancels, sends missing wake-ups, removes stray files.

Safe to run in several processes at once.
"""

import logging
import time
import uuid

import redis

from worker_server import storage
from worker_server.errors import FailureCode, WorkFailed
from worker_server.jobs.base import tidy
from worker_server.jobs.runtime import SweepClock
from worker_server.queue import backlog, leases, wakeups
from worker_server.settings import Settings

_log = logging.getLogger(__name__)
_WORKER_LOST = WorkFailed(
    FailureCode.WORKER_LOST, "Every worker that tried it was lost.", retryable=True
)
_STRAYS_EVERY_S = 3600
# Long enough for a task's folder to be made just before or after its row.
_STRAY_AGE_S = 600
_AT_ONCE = 1000


def sweep(settings: Settings, clock: SweepClock) -> None:
    """Do one round."""
    _take_back(settings, clock)
    for task_id in backlog.canceling_tasks():
        tidy(settings, task_id)
    _send_wakeups(settings)
    _remove_strays(settings, clock)
    clock.swept_at = time.monotonic()


def _take_back(settings: Settings, clock: SweepClock) -> None:
    """Take back the leases of dead workers, unless this process could not reach the database for a while either."""
    if clock.is_late(settings.lease_s + settings.sweep_s):
        _log.warning("this round is late: leases get one more round")
        return
    for lease in backlog.expired_leases(settings.lease_s):
        part = getattr(lease, "number", None)
        _log.warning("lease ran out", extra={"task_id": str(lease.task_id), "part": part})
        leases.fail(lease, _WORKER_LOST, settings.max_attempts, expired_only=True)
        tidy(settings, lease.task_id)


def _send_wakeups(settings: Settings) -> None:
    try:
        storage.check(settings.remote_folder)
    except storage.ShareAway as error:
        _log.warning("no wake-ups sent: %s", error)  # a woken worker could not work
        return
    client = redis.Redis.from_url(settings.redis_url, socket_timeout=5, socket_connect_timeout=2)
    try:
        tasks, parts = backlog.due_work(wakeups.MAX_WAKEUPS)
        for queue, due in ((wakeups.FETCH, tasks), (wakeups.RENDER, parts)):
            sent = wakeups.refill(client, queue, due)
            if sent:
                _log.info("wake-ups sent", extra={"queue": queue, "count": sent})
    except redis.RedisError as error:
        _log.warning("no wake-ups sent: %s", type(error).__name__)
    finally:
        client.close()


def _remove_strays(settings: Settings, clock: SweepClock) -> None:
    """Remove files that a worker wrote after its lease was taken back, and folders whose task is gone."""
    if not clock.strays_are_due(_STRAYS_EVERY_S) or not storage.is_mounted(settings.remote_folder):
        return
    settled = time.time() - _STRAY_AGE_S
    folders = [
        (task_id, at)
        for task_id, at in storage.task_folders(settings.remote_folder)
        if at < settled
    ]
    for start in range(0, len(folders), _AT_ONCE):
        _tidy_strays(settings, folders[start : start + _AT_ONCE], settled - 2 * _STRAYS_EVERY_S)
    clock.strays_removed_at = time.monotonic()


def _tidy_strays(
    settings: Settings, folders: list[tuple[uuid.UUID, float]], recently: float
) -> None:
    gone = backlog.unknown_ids([task_id for task_id, _ in folders])
    for task_id, modified_at in folders:
        if task_id in gone or modified_at > recently:
            tidy(settings, task_id)
