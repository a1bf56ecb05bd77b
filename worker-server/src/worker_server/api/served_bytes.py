"""Counts the bytes of clips that are served, without a transaction for each download."""

import threading
import time

from flask import Flask

from worker_server.queue import totals

_FLUSH_EVERY_S = 5.0


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
                self._thread = threading.Thread(target=self._run, name="served-bytes", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(self._flush_every_s)
            with self._lock:
                pending, self._pending = self._pending, 0
                if not pending:
                    self._thread = None
                    return
            with self._app.app_context():
                is_written = totals.add_bytes("out", pending)
            if not is_written:
                with self._lock:
                    self._pending += pending
