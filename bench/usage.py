"""The cost of work: wall clock, processor time and memory of its process and all descendants."""

import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass

import psutil

_POLL_S = 0.01
_SAMPLE_S = 0.25


@dataclass(frozen=True)
class Usage:
    """The cost of one run."""

    wall_s: float
    cpu_s: float  # user and system, all processes
    peak_bytes: (
        float  # proportional set size (PSS) of all processes together, sampled four times a second
    )

    def sample(self) -> dict[str, float]:
        return asdict(self)


class WorkFailed(Exception):
    """The measured work raised an exception, or its process was killed."""


def measure(work: Callable[[], object]) -> Usage:
    """Run `work` in a forked child and return what it cost.

    A fork, like a Celery worker: imports made before cost nothing. Only descendants that the child
    waited for count. PSS excludes the page cache of files that were read.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    begin = time.monotonic()
    child = os.fork()
    if child == 0:
        _run(work)
    try:
        peak, status, usage = _watch(child)
    except BaseException:  # also SystemExit, raised on SIGTERM
        _kill(child)
        raise
    wall_s = time.monotonic() - begin
    if status != 0:
        raise WorkFailed(f"the work ended with {os.waitstatus_to_exitcode(status)}")
    return Usage(wall_s, usage.ru_utime + usage.ru_stime, max(peak, usage.ru_maxrss * 1024))


def tree_bytes(root: psutil.Process) -> int:
    """Return the PSS of a process and all of its descendants; memory they share counts once."""
    return sum(_pss(process) for process in [root, *root.children(recursive=True)])


def _run(work: Callable[[], object]) -> None:
    try:
        work()
    except BaseException:  # noqa: BLE001 # the fork must never continue as its parent
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _watch(child: int) -> "tuple[int, int, os.struct_rusage]":  # type: ignore[name-defined] # wait4's own type
    process, peak, sample_at = psutil.Process(child), 0, 0.0
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return peak, status, usage
        if time.monotonic() >= sample_at:
            peak, sample_at = max(peak, tree_bytes(process)), time.monotonic() + _SAMPLE_S
        time.sleep(_POLL_S)


def _kill(child: int) -> None:
    process = psutil.Process(child)
    for each in [*process.children(recursive=True), process]:
        each.kill()
    os.waitpid(child, 0)


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0  # it has ended
