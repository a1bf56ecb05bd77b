"""Becomes another program, after tying itself to its parent and to limits.

Run as a script: `python -I -S guard.py PARENT_PID NICE CPU_S MEMORY FILE_BYTES OPEN_FILES PROGRAM [ARGUMENT…]`,
0 for no limit. Doing this between fork and exec of a threaded program is unsafe, and doing it from outside is too late.
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    parent, nice, cpu_s, memory, file_bytes, open_files = map(int, sys.argv[1:7])
    # The signal comes when the parent's *thread* that spawned us ends (prctl(2)).
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("The parent is gone already.")
    os.nice(nice)
    _limit(resource.RLIMIT_CORE, 0)
    for kind, value in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, open_files),
    ):
        if value:
            _limit(kind, value)
    os.execv(sys.argv[7], sys.argv[7:])  # noqa: S606 # no shell is the point


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


if __name__ == "__main__":
    main()
