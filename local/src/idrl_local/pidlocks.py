"""Locked pid files: which processes belong to an installation, even after their parent was killed.

A pid lock holds the id of a process group. Every process forked from the one that acquired the lock
inherits it, and the kernel releases it when the last of them ends. So a held lock never names
another program's process that was given an old id.
"""

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from idrl_common import processes


class LockHeld(Exception):
    """Processes from an earlier start are still there."""


@dataclass(frozen=True)
class PidLock:
    """The lock file of one program."""

    path: Path

    def acquire(self, timeout_s: float = 10) -> None:
        """Lock for this process, for what it becomes by exec, and for its children.

        Processes that an earlier holder left behind are killed first: nginx's workers outlive a
        killed master and keep its port. Raises LockHeld when they do not end in time.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        if not processes.try_lock(descriptor):
            self.signal_group(signal.SIGKILL)
            if not _wait(lambda: processes.try_lock(descriptor), timeout_s):
                raise LockHeld(f"{self.path} is held by process group {self.path.read_text()}")
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        os.set_inheritable(descriptor, True)

    @property
    def pid(self) -> int:
        """The process group that acquired the lock last."""
        return int(self.path.read_text())

    def is_locked(self) -> bool:
        """Return whether a process that the lock stands for is alive."""
        return processes.is_locked(self.path)

    def wait_until_free(self, timeout_s: float) -> bool:
        """Wait for the last process of the lock to end; return whether it did."""
        return _wait(lambda: not self.is_locked(), timeout_s)

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process group of a held lock."""
        text = self.path.read_text()
        if text.isdigit() and self.is_locked():
            try:
                os.killpg(int(text), number)
            except ProcessLookupError:
                # The leader has ended, and its children are in process groups of their own.
                return

    @contextmanager
    def hold(self, before_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the lock for as long as the block lasts, after waiting for its present holder.

        `before_wait` is called where there is one. Children do not inherit the lock.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not processes.try_lock(descriptor):
                before_wait()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _wait(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Poll every 20 ms: the kernel reports only the end of a process's own children."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
