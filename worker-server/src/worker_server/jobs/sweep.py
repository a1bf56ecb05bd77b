"""What keeps every task moving whatever was lost: leases of dead workers, hints, cancels, files.

Safe to run in several processes at once.
"""

import logging
import time
from dataclasses import dataclass

import redis

from worker_server import storage
from worker_server.jobs.base import tidy
from worker_server.queue import leases, wakeups
from worker_server.queue.leases import Failure
from worker_server.settings import Settings

_log = logging.getLogger(__name__)
_WORKER_LOST = Failure(
    "worker_lost", "The machine that worked on it went away, again and again.", retryable=True
)
_STRAYS_EVERY_S = 3600
# Long enough for a task's folder to be made just before or after its row.
_STRAY_AGE_S = 600
_AT_ONCE = 1000


@dataclass
class Clock:
    """When this process last swept, and last looked for strays (monotonic seconds)."""

    swept: float | None = None
    looked_for_strays: float | None = None


_clock = Clock()


def sweep(settings: Settings) -> None:
    """Do one round."""
    _take_back(settings)
    for task_id in leases.canceling():
        tidy(settings, task_id)
    _send_hints(settings)
    _remove_strays(settings)
    _clock.swept = time.monotonic()


def _take_back(settings: Settings) -> None:
    """Take back what dead workers held, unless nobody, we included, could reach the database for a while."""
    if (
        _clock.swept is not None
        and time.monotonic() - _clock.swept > settings.lease_s + settings.sweep_s
    ):
        _log.warning("late: leases get one round more")
        return
    for lease in leases.expired(settings.lease_s):
        _log.warning("lease ran out", extra={"task_id": str(lease.task_id), "part": lease.number})
        leases.fail(lease, _WORKER_LOST, settings.max_attempts, expired_only=True)
        tidy(settings, lease.task_id)


def _send_hints(settings: Settings) -> None:
    try:
        storage.check(settings.remote_folder)
    except storage.ShareAway as error:
        _log.warning("no hints: %s", error)  # whoever was woken would find that it cannot work
        return
    client = redis.Redis.from_url(settings.redis_url, socket_timeout=5, socket_connect_timeout=2)
    try:
        tasks, parts = leases.ready(wakeups.MAX_WAKEUPS)
        for queue, ready in ((wakeups.FETCH, tasks), (wakeups.RENDER, parts)):
            sent = wakeups.refill(client, queue, ready)
            if sent:
                _log.info("hints sent", extra={"queue": queue, "count": sent})
    except redis.RedisError as error:
        _log.warning("no hints: %s", type(error).__name__)
    finally:
        client.close()


def _remove_strays(settings: Settings) -> None:
    """Remove files that a worker which was thought dead wrote late, and folders whose task is gone."""
    now = time.monotonic()
    if _clock.looked_for_strays is not None and now - _clock.looked_for_strays < _STRAYS_EVERY_S:
        return
    if not storage.is_mounted(settings.remote_folder):
        return
    settled = time.time() - _STRAY_AGE_S
    recently = settled - 2 * _STRAYS_EVERY_S
    folders = [
        (task_id, at)
        for task_id, at in storage.task_folders(settings.remote_folder)
        if at < settled
    ]
    for start in range(0, len(folders), _AT_ONCE):
        some = folders[start : start + _AT_ONCE]
        gone = leases.unknown([task_id for task_id, _ in some])
        for task_id, at in some:
            if task_id in gone or at > recently:
                tidy(settings, task_id)
    _clock.looked_for_strays = now
