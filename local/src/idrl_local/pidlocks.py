"""Marks: locked files that tell which processes are ours, whatever became of the one that started them.

A mark holds the id of a process group. Its lock passes on to every process forked from the one that took it, and
the kernel lets go of it when the last of them ends, so a held mark never names a stranger who got an old id.
"""

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class MarkHeld(Exception):
    """Processes from an earlier start are still there."""


def take(path: Path, patience_s: float = 10) -> None:
    """Mark this process, and what it becomes by exec, as the one that `path` stands for.

    Processes that an earlier holder left behind (nginx's workers outlive a killed master, and keep its port) are
    killed first; raises MarkHeld when they do not go.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if not _try_lock(descriptor):
        signal_group(path, signal.SIGKILL)
        if not _wait(lambda: _try_lock(descriptor), patience_s):
            raise MarkHeld(f"{path} is held by process group {path.read_text()}")
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    os.set_inheritable(descriptor, True)


def is_held(path: Path) -> bool:
    """Tell whether a process that the mark stands for is alive."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def wait_until_free(path: Path, patience_s: float) -> bool:
    """Wait for the last process of the mark to end; tell whether it did."""
    return _wait(lambda: not is_held(path), patience_s)


def signal_group(path: Path, number: signal.Signals) -> None:
    """Send a signal to the process group of a held mark."""
    text = path.read_text()
    if text.isdigit() and is_held(path):
        try:
            os.killpg(int(text), number)
        except (
            ProcessLookupError
        ):  # the leader is gone, and what it forked went into groups of their own
            return


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the mark for as long as the block lasts, waiting for whoever holds it; children do not inherit it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(condition: Callable[[], bool], patience_s: float) -> bool:
    """Look every 20 ms, since the end of a process that is not our child cannot be awaited."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
