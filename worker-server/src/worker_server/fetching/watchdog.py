"""Deadlines that hold whatever the network does: a socket's own timeout restarts with each byte.

A thread compares the clock and shuts the socket down; the blocked read then ends, and its caller
gets the reason by `check`.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

from worker_server.errors import FailureCode, Stopped
from worker_server.fetching.errors import FetchFailed, RequestStalled, transient
from worker_server.fetching.limits import FetchLimits

_TICK_S = 0.1


class Watchdog:
    """Watches one download while the block lasts; `over` is set when no request may follow."""

    def __init__(self, limits: FetchLimits, should_stop: Callable[[], bool]) -> None:
        self.over = threading.Event()
        self._limits = limits
        self._should_stop = should_stop
        self._deadline = time.monotonic() + limits.timeout_s
        self._is_storing = False
        self._headers_due: float | None = None
        self._meter = _Meter(limits)
        self._lock = threading.Lock()
        self._failure: Exception | None = None
        self._socket: socket.socket | None = None
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fetch-watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()
        self.release()

    def begin_request(self) -> None:
        """Start the deadline for name, connection and headers together; forget an earlier stall."""
        with self._lock:
            if not self.over.is_set():
                self._failure = None
            self._headers_due = time.monotonic() + self._limits.first_byte_s
        self.check()

    def begin_body(self) -> None:
        """End the deadline for the headers; from now on bytes have to keep coming."""
        with self._lock:
            self._headers_due = None
            self._meter = _Meter(self._limits)
        self.check()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time in the block as waiting for the source; time outside it is ours."""
        with self._lock:
            self._meter.begin_wait()
        try:
            yield
        finally:
            with self._lock:
                self._meter.end_wait()

    @contextlib.contextmanager
    def storing(self) -> Iterator[None]:
        """Put the deadline off by the time in the block: the share may hang, not the source."""
        began = time.monotonic()
        with self._lock:
            self._is_storing = True
        try:
            yield
        finally:
            with self._lock:
                self._deadline += time.monotonic() - began
                self._is_storing = False

    def received(self, size_bytes: int) -> None:
        """Record that bytes were received."""
        with self._lock:
            self._meter.add(size_bytes)

    def release(self) -> None:
        """Stop watching the connection: it closes when its owner closes it."""
        with self._lock:
            duplicate, self._socket = self._socket, None
        if duplicate is not None:
            duplicate.close()

    def watch(self, connection: socket.socket) -> None:
        """Watch a duplicate of this socket: TLS takes over the original's descriptor."""
        duplicate = connection.dup()
        self.release()
        with self._lock:
            self._socket = duplicate
        self.check()

    def check(self) -> None:
        """Raise the reason why the connection was shut down, if it was."""
        with self._lock:
            if self._failure is not None:
                raise self._failure

    def _run(self) -> None:
        while not self._left.wait(_TICK_S):
            final = self._final_failure()
            if final is not None:
                self.over.set()
            with self._lock:
                failure = final or self._stall()
                if failure is not None:
                    self._cut(failure)

    def _final_failure(self) -> Exception | None:
        try:
            stopped = self._should_stop()
        except Exception as error:  # noqa: BLE001 # `check` raises it in the thread of the download
            return error
        if stopped:
            return Stopped("the download was stopped")
        with self._lock:
            is_over = not self._is_storing and time.monotonic() >= self._deadline
        if is_over:
            return FetchFailed(
                FailureCode.SOURCE_TOO_SLOW,
                f"The download took longer than {self._limits.timeout_s:g} s.",
            )
        return None

    def _stall(self) -> RequestStalled | None:
        """Return the failure of a source that is silent (transient) or too slow (final)."""
        if self._headers_due is None:
            if self._meter.is_silent():
                return _silent(f"The source sent nothing for {self._limits.stall_s:g} s.")
            if self._meter.is_too_slow():
                message = "The source sends too slowly."
                return RequestStalled(FetchFailed(FailureCode.SOURCE_TOO_SLOW, message))
        elif time.monotonic() >= self._headers_due:
            return _silent(f"The source did not answer within {self._limits.first_byte_s:g} s.")
        return None

    def _cut(self, failure: Exception) -> None:
        self._failure = failure
        if self._socket is not None:
            # Shuts the connection down in every state: connecting, TLS handshake, reading.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def _silent(message: str) -> RequestStalled:
    return RequestStalled(transient(FailureCode.SOURCE_TOO_SLOW, message))


class _Meter:
    """The time spent waiting for the source, and the bytes it sent meanwhile."""

    def __init__(self, limits: FetchLimits) -> None:
        self._window_s = limits.stall_s
        self._window_min_bytes = limits.stall_s * limits.min_bytes_per_s
        self._waited_s = 0.0
        self._waiting_since: float | None = None
        self._last_byte_at_s = 0.0
        self._window_at_s = 0.0
        self._window_bytes = 0

    def begin_wait(self) -> None:
        self._waiting_since = time.monotonic()

    def end_wait(self) -> None:
        self._waited_s = self._now_s()
        self._waiting_since = None

    def add(self, size_bytes: int) -> None:
        if size_bytes:
            self._last_byte_at_s = self._waited_s
        self._window_bytes += size_bytes

    def is_silent(self) -> bool:
        """Return whether nothing came for the whole window."""
        return self._now_s() - self._last_byte_at_s >= self._window_s

    def is_too_slow(self) -> bool:
        """Return whether too little came in the last full window."""
        now_s = self._now_s()
        if now_s - self._window_at_s < self._window_s:
            return False
        too_little = self._window_bytes < self._window_min_bytes
        self._window_at_s, self._window_bytes = now_s, 0
        return too_little

    def _now_s(self) -> float:
        """Return the seconds spent waiting so far; the time of our own work is left out."""
        since = self._waiting_since
        return self._waited_s + (0 if since is None else time.monotonic() - since)
