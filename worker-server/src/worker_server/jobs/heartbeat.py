"""The heartbeat of a job: renews its lease, writes its progress, and learns that the job must stop.

It runs in a thread of its own, so that a blocked write to the share does not look like a dead
worker. Between two renewals it reads the row several times, so that a job soon stops when its task
is canceled, which frees space, or its part preempted, which frees a render slot.
"""

import logging
import threading
import time
from enum import Enum, auto
from typing import Self

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from worker_server.jobs.shutdown import ShutdownFlag
from worker_server.models.statuses import IN_PROGRESS
from worker_server.queue import leases
from worker_server.queue.claims import Lease
from worker_server.settings import Settings

_log = logging.getLogger(__name__)
_READ_EVERY_S = 0.2


class StopReason(Enum):
    """Why a job must stop: its task has ended, its lease is lost, or this worker is stopped."""

    CANCELED = auto()
    LOST = auto()
    SHUTDOWN = auto()


class Heartbeat:
    """Beats while the block lasts; jobs call `should_stop` often, and `reason` says why."""

    def __init__(
        self, app: Flask, lease: Lease, settings: Settings, shutdown: ShutdownFlag
    ) -> None:
        self._app = app
        self._lease = lease
        self._every_s = settings.heartbeat_s
        self._lease_s = settings.lease_s
        self._shutdown = shutdown
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._progress = 0
        self.reason: StopReason | None = None

    def report(self, fraction: float) -> None:
        """Set the progress, 0 to 1; the next heartbeat writes it."""
        self._progress = int(100 * min(1.0, max(0.0, fraction)))

    def should_stop(self) -> bool:
        """Return whether the job must stop."""
        if self.reason is None and self._shutdown.is_set():
            self.reason = StopReason.SHUTDOWN
        return self.reason is not None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        pause_s = min(self._every_s, _READ_EVERY_S)
        renewed_at = time.monotonic()
        while not self._ended.wait(pause_s) and self.reason in (None, StopReason.SHUTDOWN):
            is_due = time.monotonic() - renewed_at > self._every_s - pause_s / 2
            renewed_at = time.monotonic() if is_due else renewed_at
            try:
                with self._app.app_context():
                    self._beat(is_renewal=is_due)
            except SQLAlchemyError as error:
                # While the database is unavailable no other worker can claim the row either:
                # continue, and renew the lease later.
                _log.warning("heartbeat failed: %s", type(error).__name__)
            except Exception:  # noqa: BLE001 # the thread must not end before the job
                _log.exception("heartbeat failed with an unexpected exception")

    def _beat(self, *, is_renewal: bool) -> None:
        if is_renewal:
            status = leases.renew(self._lease, self._lease_s, self._progress)
        else:
            status = leases.leased_task_status(self._lease)
        if status is None:
            self.reason = StopReason.LOST
        elif status not in IN_PROGRESS:
            self.reason = StopReason.CANCELED
