"""A reload by SIGHUP without a wait: old worker processes answer until the new ones do.

gunicorn tells the old ones to stop as soon as the new ones are forked; those import the app first,
which takes seconds, or far longer on a busy machine.
"""

import mmap
import struct

_AGE = struct.Struct("q")
_SLOTS = 256


class Reload:
    """The latest reload, in memory that the master shares with its workers.

    Workers have an `age`, gunicorn's number in the order of their start, from 1.
    """

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, _AGE.size + _SLOTS)

    def begin(self, age: int) -> None:
        """Note in the master that workers up to this age are to be replaced."""
        self._shared[:] = _AGE.pack(age) + bytes(_SLOTS)

    def record_started(self, age: int) -> None:
        """Record that a worker has imported the app."""
        slot = age - self._replaced_age - 1
        if 0 <= slot < _SLOTS:
            self._shared[_AGE.size + slot] = 1

    def is_being_replaced(self, age: int, workers: int) -> bool:
        """Return whether a reload replaces workers of this age and new ones are still starting."""
        started = sum(self._shared[_AGE.size :])
        return age <= self._replaced_age and started < workers

    def has_any_worker_started(self) -> bool:
        """Return whether any worker has imported the app since the service started."""
        return self._replaced_age > 0 or any(self._shared[_AGE.size :])

    @property
    def _replaced_age(self) -> int:
        (age,) = _AGE.unpack(self._shared[: _AGE.size])
        return int(age)


RELOAD = Reload()
