"""Lets a machine decode pictures larger than 4K for one part or source at a time."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from worker_server.media import Source, Stopped

# A render of 4K takes up to 800 MiB, one of 8K up to 1.4 GiB (docs/performance.md): two of those
# would exceed the container's limit, RENDER_MEMORY.
_MAX_SIDE = 4096
_LOCK = "large-pictures.lock"
_POLL_S = 0.5


@contextmanager
def one_at_a_time(source: Source, scratch: Path, should_stop: Callable[[], bool]) -> Iterator[None]:
    """Wait until no other process here decodes large pictures, if those of this source are.

    `scratch` is the folder that the machine's workers share. Raise Stopped once `should_stop`
    returns true.
    """
    if max(source.width, source.height) <= _MAX_SIDE:
        yield
        return
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(scratch / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _lock(descriptor):
            if should_stop():
                raise Stopped
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)  # which also unlocks


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
