"""Distinguishes a slow start from one without progress, and prints what is awaited."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from idrl_common import processes
from idrl_local.home import Home, number_from_environment
from idrl_local.programs import PROGRAMS

_WRITE_EVERY_S = 10
# Idle workers and servers use less than this within START_TIMEOUT_S.
_PROGRESS_CPU_S = 2.0
# Processes that are killed and restarted forever use processor time as well.
_MAX_STALLS = 10


def start_timeout_s(environment: Mapping[str, str]) -> int:
    """Return for how long a start may make no progress; raise HomeUnusable if not a number."""
    return number_from_environment(environment, "START_TIMEOUT_S", 180)


class StartProgress:
    """Progress is a new program that is awaited, or processor time that our processes have used."""

    def __init__(self, home: Home, timeout_s: float, write_line: Callable[[str], None]) -> None:
        self._home = home
        self._timeout_s = timeout_s
        self._write_line = write_line
        self._waiting_for = ""
        self._started = self._progressed = self._printed = time.monotonic()
        self._cpu_s = 0.0

    def is_made(self, waiting_for: str) -> bool:
        """Record what is awaited now; return False once nothing has progressed for too long."""
        now = time.monotonic()
        if waiting_for != self._waiting_for:
            self._waiting_for, self._progressed = waiting_for, now
            self._print_wait(now)
        elif now - self._printed >= _WRITE_EVERY_S:
            self._print_wait(now)
            self._record_cpu(now)
        return (
            now - self._progressed < self._timeout_s
            and now - self._started < self._timeout_s * _MAX_STALLS
        )

    def _print_wait(self, now: float) -> None:
        waited_s = round(now - self._started)
        self._printed = now
        self._write_line(f"waiting for {self._waiting_for} ({waited_s} s)")

    def _record_cpu(self, now: float) -> None:
        used_s = sum(_cpu_seconds(self._home.lock(program.name).path) for program in PROGRAMS)
        # Less than before: a process has ended, and others have taken its place.
        if used_s < self._cpu_s or used_s - self._cpu_s > _PROGRESS_CPU_S:
            self._cpu_s, self._progressed = used_s, now


def _cpu_seconds(lock: Path) -> float:
    """Return the processor time of the process group that holds the lock, with ended children."""
    try:
        return processes.cpu_seconds(int(lock.read_text()))
    except (OSError, ValueError):
        return 0.0
