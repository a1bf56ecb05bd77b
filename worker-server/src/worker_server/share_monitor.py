"""The share's state for the tasks service, read by one thread: a hang holds up no request."""

import logging
import math
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from idrl_common.background import start_thread
from worker_server import storage

_log = logging.getLogger(__name__)
_TIMEOUT_S = 2.0
_FRESH_S = 5.0
# Nothing is known of a share that was last checked longer ago.
_KNOWN_S = 60.0
# A check takes milliseconds; on a starved machine, a second or two.
_HANGS_AFTER_S = 5.0


@dataclass(frozen=True)
class ShareState:
    """The free bytes of the share, or the error that makes it unusable; `at` is monotonic."""

    at: float
    free_bytes: int | None = None
    error: storage.ShareUnusable | None = None


class ShareMonitor:
    """Checks the share when asked, in a thread of its own, one check at a time."""

    def __init__(self, remote: Path, reserve_bytes: int) -> None:
        self._remote = remote
        self._reserve_bytes = reserve_bytes
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._began = 0.0
        self._state: ShareState | None = None

    def check(self, timeout_s: float = _TIMEOUT_S) -> ShareState:
        """Return the share's state as it is now; ShareAway when it does not answer in time.

        ShareAway too where this machine cannot check it.
        """
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._began = time.monotonic()
                self._thread = start_thread(self._run, "share")
            thread = self._thread
        if thread is None:
            return _no_answer()
        thread.join(timeout_s)
        if thread.is_alive() or self._state is None:
            return _no_answer()
        return self._state

    def last(self) -> ShareState:
        """Return the last known state without waiting; an old one is checked again meanwhile.

        ShareAway where a check has not ended for some seconds.
        """
        if self._age_s() > _FRESH_S:
            self.check(timeout_s=0)
        if self.hangs():
            return _no_answer()
        state = self._state
        return state if state and self._age_s() <= _KNOWN_S else ShareState(time.monotonic())

    def _age_s(self) -> float:
        return time.monotonic() - self._state.at if self._state else math.inf

    def hangs(self) -> bool:
        """Return whether a check has not ended for some seconds, so that any write would block."""
        thread, began = self._thread, self._began
        is_checking = thread is not None and thread.is_alive()
        return is_checking and time.monotonic() - began > _HANGS_AFTER_S

    def _run(self) -> None:
        now = time.monotonic()
        try:
            free_bytes = storage.check_usable(self._remote, self._reserve_bytes)
        except storage.ShareUnusable as error:
            self._state = ShareState(now, storage.free_bytes_or_none(self._remote), error)
        except Exception:  # noqa: BLE001 # no memory, for example: an old state must not seem new
            _log.exception("the share cannot be checked")
            self._state = ShareState(now, error=storage.ShareAway("the share cannot be checked"))
        else:
            self._state = ShareState(now, free_bytes)


def _no_answer() -> ShareState:
    unavailable = storage.ShareAway("the share does not answer")
    return ShareState(time.monotonic(), error=unavailable)
