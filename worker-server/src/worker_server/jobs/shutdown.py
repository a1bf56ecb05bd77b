"""Whether this worker is being stopped: its main process sets it, its children read it."""

import mmap


class ShutdownFlag:
    """Shared memory without a lock: a child killed while it holds one would never release it."""

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    def set(self) -> None:
        """Tell every process that shares the flag to release its work."""
        self._byte[0] = 1

    def clear(self) -> None:
        """Let the processes work again."""
        self._byte[0] = 0

    def is_set(self) -> bool:
        """Return whether the worker is being stopped."""
        return self._byte[0] == 1
