"""Servers that run for as long as a block lasts, and what the kernel says of processes."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server and end it, with its children, after the block; its output goes to `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)  # for PostgreSQL, fast shutdown: disconnects clients
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # children that outlived the server


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that only waits for its parent to reap it does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the latter between opening and reading
        return False
    return state != "Z"


def child_pids(pid: int) -> set[int]:
    """Return the children of all threads of a process; empty where there is no such process."""
    pids: set[int] = set()
    with suppress(FileNotFoundError, ProcessLookupError):  # the process has ended since
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # or only this thread
                pids.update(map(int, (thread / "children").read_text().split()))
    return pids
