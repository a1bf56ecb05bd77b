"""Lets a machine decode pictures larger than 4K for one part or source at a time.

While one is decoded, render processes claim other parts. One that has claimed a large part at the
same moment waits.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from idrl_common import processes
from worker_server.limits import LARGE_SIDE
from worker_server.media import Source, Stopped

_LOCK = "large-pictures.lock"
_POLL_S = 0.5


def is_large(source: Source) -> bool:
    """Return whether its pictures are decoded for one part or source at a time."""
    return max(source.width, source.height) > LARGE_SIDE


def are_decoded(scratch: Path) -> bool:
    """Return whether a process here decodes large pictures now."""
    try:
        return processes.is_locked(scratch / _LOCK)
    except OSError:  # it is unusable, which only large pictures need to meet
        return False


@contextmanager
def one_at_a_time(source: Source, scratch: Path, should_stop: Callable[[], bool]) -> Iterator[None]:
    """Wait until no other process here decodes large pictures, if those of this source are.

    `scratch` is the folder that the machine's workers share. Raise Stopped once `should_stop`
    returns true.
    """
    if not is_large(source):
        yield
        return
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(scratch / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not processes.try_lock(descriptor):
            if should_stop():
                raise Stopped
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)  # which also unlocks
