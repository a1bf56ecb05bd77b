"""Whether this worker is being stopped: said in its main process, seen by the children it forked.

One shared byte, no lock: a child that is killed at the wrong moment would keep a lock for ever.
"""

import mmap

_flag = mmap.mmap(-1, 1)


def begin() -> None:
    """Say that the work is to be handed back."""
    _flag[0] = 1


def has_begun() -> bool:
    """Tell whether it was said."""
    return _flag[0] == 1


def forget() -> None:
    """Take it back."""
    _flag[0] = 0
