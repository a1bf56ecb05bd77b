"""Whether this worker is being stopped: set in its main process, seen by the children that it forked."""

import mmap


class ShutdownFlag:
    """One byte of shared memory. No lock: a child that is killed while it holds one would keep it for ever."""

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    def set(self) -> None:
        """Tell every process that shares the flag to release its work."""
        self._byte[0] = 1

    def clear(self) -> None:
        """Let the processes work again."""
        self._byte[0] = 0

    def is_set(self) -> bool:
        """Tell whether the worker is being stopped."""
        return self._byte[0] == 1
