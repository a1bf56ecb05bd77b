"""Counts the bytes of clips that are served, without a transaction for each download."""

import logging
import threading
import time

from flask import Flask

from idrl_common.background import start_thread
from worker_server.queue import totals

_FLUSH_EVERY_S = 5.0
_log = logging.getLogger(__name__)


class ServedBytes:
    """Adds up in memory; a thread writes the sum every few seconds, later while that fails.

    A process that is killed loses what it counted since the last time.
    """

    def __init__(self, app: Flask, flush_every_s: float = _FLUSH_EVERY_S) -> None:
        self._app = app
        self._flush_every_s = flush_every_s
        self._lock = threading.Lock()
        self._pending = 0
        self._thread: threading.Thread | None = None

    def add(self, size_bytes: int) -> None:
        """Count bytes that are being sent."""
        with self._lock:
            self._pending += size_bytes
            if self._thread is None and self._pending:
                # Where there is no thread left, the next call tries again.
                self._thread = start_thread(self._run, "served-bytes")

    def _run(self) -> None:
        while True:
            time.sleep(self._flush_every_s)
            with self._lock:
                pending, self._pending = self._pending, 0
                if not pending:
                    self._thread = None
                    return
            if not self._write(pending):
                with self._lock:
                    self._pending += pending

    def _write(self, pending: int) -> bool:
        try:
            with self._app.app_context():
                return totals.add_bytes("out", pending)
        except Exception:  # noqa: BLE001 # the thread must not end: the sum is written later
            _log.exception("served bytes not counted")
            return False
