"""Bounds how many threads read the share: while a hard mount's server is down, they block."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from idrl_common.problems import Problem
from worker_server import storage
from worker_server.errors import FailureCode

_WAIT_S = 5.0


class ShareAccess:
    """Lets at most `max_parallel` threads read the share; another one waits at most `wait_s`.

    A share that hangs then blocks only these threads, however long; other calls are answered.
    """

    def __init__(self, max_parallel: int, wait_s: float = _WAIT_S) -> None:
        self._slots = BoundedSemaphore(max_parallel)
        self._wait_s = wait_s

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read the share in the block; raise a 503 Problem if no slot is free or on an OSError."""
        if not self._slots.acquire(timeout=self._wait_s):
            raise share_unavailable()
        try:
            yield
        except OSError as error:
            raise share_unavailable() from error
        finally:
            self._slots.release()


def problem_of(error: OSError) -> Problem:
    """Return the answer to a call whose bytes cannot be written."""
    if error.errno in storage.NO_SPACE:
        message, wait = "The storage is full; continue when there is space.", "60"
        return Problem(503, FailureCode.STORAGE_FULL, message, headers={"Retry-After": wait})
    message = "The storage cannot be used at the moment."
    return Problem(503, FailureCode.STORAGE_UNAVAILABLE, message)


def share_unavailable() -> Problem:
    """Return the answer to a call for files while the share cannot be read."""
    message = "The clips cannot be read at the moment."
    headers = {"Retry-After": "5"}
    return Problem(503, FailureCode.STORAGE_UNAVAILABLE, message, headers=headers)
