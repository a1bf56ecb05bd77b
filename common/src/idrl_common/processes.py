"""What the kernel says of processes: whether they run, are stopped (SIGSTOP), and since when.

Linux alone: it reads /proc.
"""

import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_STOPPED = "T"
_ZOMBIE = "Z"


@dataclass(frozen=True)
class ProcessState:
    """The state of a supervised process; `started_at` is in seconds since the epoch, 0 when down.

    `is_stopped`: this process, or one that it has started, was stopped by a signal.
    """

    name: str
    is_running: bool
    is_stopped: bool = False
    started_at: float = 0.0

    @property
    def is_up(self) -> bool:
        """Whether the process and its children run."""
        return self.is_running and not self.is_stopped


@dataclass(frozen=True)
class _Stat:
    """The fields of /proc/PID/stat that matter here; `start_ticks` counts from the boot.

    `cpu_ticks` are those of the process and of its children that have ended.
    """

    pid: int
    state: str
    parent: int
    group: int
    cpu_ticks: int
    start_ticks: int


def read_states(folder: Path) -> list[ProcessState]:
    """Return the state of each process that has a locked pid file (NAME.lock) in the folder."""
    table = {stat.pid: stat for stat in _all_stats()}
    children: dict[int, list[_Stat]] = {}
    for stat in table.values():
        children.setdefault(stat.parent, []).append(stat)
    states = []
    for path in sorted(folder.glob("*.lock")):
        pid = _pid_in(path)
        if pid is not None:
            states.append(_state_of(path, table.get(pid), children))
    return states


def started_at(pid: int) -> float | None:
    """Return when the process started, in seconds since the epoch; None when there is none."""
    stat = _stat_of(pid)
    return None if stat is None else _epoch_of(stat)


def cpu_seconds(group: int) -> float:
    """Return the processor time of a process group, with that of children that have ended."""
    ticks = sum(stat.cpu_ticks for stat in _all_stats() if stat.group == group)
    return ticks / os.sysconf("SC_CLK_TCK")


def is_locked(path: Path) -> bool:
    """Return whether a process holds the file's lock: the kernel may have reused the pid in it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not try_lock(descriptor, fcntl.LOCK_SH)  # shared: checks do not see each other
    finally:
        os.close(descriptor)


def try_lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Return whether the open file is locked now, for as long as the descriptor is open."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _state_of(path: Path, stat: _Stat | None, children: dict[int, list[_Stat]]) -> ProcessState:
    if stat is None or stat.state == _ZOMBIE or not is_locked(path):
        return ProcessState(path.stem, is_running=False)
    family = [stat, *_descendants(stat.pid, children, _pids_with_locks(path.parent))]
    is_stopped = any(each.state == _STOPPED for each in family)
    return ProcessState(path.stem, True, is_stopped, _epoch_of(stat))


def _descendants(
    pid: int, children: dict[int, list[_Stat]], own_lock: frozenset[int]
) -> Iterator[_Stat]:
    """Yield what the process has started, except processes that have a pid file of their own."""
    for child in children.get(pid, []):
        if child.pid not in own_lock:
            yield child
            yield from _descendants(child.pid, children, own_lock)


def _pids_with_locks(folder: Path) -> frozenset[int]:
    pids = map(_pid_in, folder.glob("*.lock"))
    return frozenset(pid for pid in pids if pid is not None)


def _pid_in(path: Path) -> int | None:
    try:
        text = path.read_text()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _all_stats() -> Iterator[_Stat]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            stat = _stat_of(int(entry.name))
            if stat is not None:
                yield stat


def _stat_of(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name in parentheses may itself hold spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    parent, group = map(int, fields[1:3])
    cpu_ticks = sum(map(int, fields[11:15]))
    return _Stat(pid, fields[0], parent, group, cpu_ticks, int(fields[19]))


def _epoch_of(stat: _Stat) -> float:
    return _boot_time() + stat.start_ticks / os.sysconf("SC_CLK_TCK")


@cache
def _boot_time() -> int:
    """Return the boot's time, in seconds since the epoch; `btime` of proc(5)."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return int(line.split()[1])
    return 0
