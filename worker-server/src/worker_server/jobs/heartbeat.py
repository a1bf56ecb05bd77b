"""The heartbeat of a piece of work: renews its lease, writes its progress, and learns that it must stop.

It runs in a thread of its own, so that a blocked write to the share does not look like a dead worker.
"""

import logging
import os
import socket
import threading
from types import TracebackType
from typing import Self

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from worker_server.jobs import shutdown
from worker_server.queue import leases
from worker_server.queue.leases import Lease

_log = logging.getLogger(__name__)


class Heartbeat:
    """Beats while the block lasts; `should_stop` is to be asked often, `reason` says why.

    Reasons: `canceled` (somebody deleted the task, or it failed elsewhere), `lost` (the lease is another worker's),
    `shutdown` (this worker is being stopped).
    """

    def __init__(self, app: Flask, lease: Lease, *, every_s: float, lease_s: float) -> None:
        self._app = app
        self._lease = lease
        self._every_s = every_s
        self._lease_s = lease_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._progress = 0
        self.reason: str | None = None

    def report(self, fraction: float) -> None:
        """Say how far the work is, 0 to 1; the next beat writes it."""
        self._progress = int(100 * min(1.0, max(0.0, fraction)))

    def should_stop(self) -> bool:
        """Tell whether the work is to be left."""
        if self.reason is None and shutdown.has_begun():
            self.reason = "shutdown"
        return self.reason is not None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._every_s) and self.reason in (None, "shutdown"):
            try:
                with self._app.app_context():
                    self._beat()
            except SQLAlchemyError as error:
                # While the database is away nobody can take the lease either: go on, and renew it later.
                _log.warning("no heartbeat: %s", type(error).__name__)

    def _beat(self) -> None:
        status = leases.renew(self._lease, self._lease_s, self._progress)
        if status is None:
            self.reason = "lost"
        elif status not in ("downloading", "processing"):
            self.reason = "canceled"


def worker_name() -> str:
    """Return a name for this process that says where to look for it."""
    return f"{socket.gethostname()}:{os.getpid()}"
