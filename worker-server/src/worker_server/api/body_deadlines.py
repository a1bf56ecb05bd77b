"""Ends bodies that arrive too slowly: gunicorn's `read` waits until all bytes asked for are there.

A caller who sends one byte a second would keep a thread for hours within one `read`.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from idrl_common.background import start_thread

_CHECK_EVERY_S = 2.0


class BodyDeadlines:
    """Ends the bodies that are being read past their time; one thread watches all of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends_at: dict[socket.socket, float] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def within(
        self, connection: socket.socket | None, seconds: float
    ) -> Iterator[Callable[[float], None]]:
        """End the body of this connection once the block has taken so long; None: no limit.

        Yields a function that gives the block so many more seconds. What has arrived by the end
        can be read, and the call can be answered.
        """
        if connection is None:
            yield lambda _: None
            return
        with self._lock:
            self._ends_at[connection] = time.monotonic() + seconds
            if self._thread is None:
                self._thread = start_thread(self._run, "body-deadlines")
        try:
            yield partial(self._extend, connection)
        finally:
            with self._lock:
                del self._ends_at[connection]

    def _extend(self, connection: socket.socket, seconds: float) -> None:
        with self._lock:
            self._ends_at[connection] += seconds

    def _run(self) -> None:
        while True:
            time.sleep(_CHECK_EVERY_S)
            with self._lock:
                if not self._ends_at:
                    self._thread = None
                    return
                self._end_late_ones()

    def _end_late_ones(self) -> None:
        now = time.monotonic()
        for connection, ends_at in self._ends_at.items():
            if ends_at < now:
                with suppress(OSError):  # the caller is gone
                    connection.shutdown(socket.SHUT_RD)
