"""Another process that holds a lock."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from idrl_local.pidlocks import PidLock

# Acquires the lock and becomes a shell that starts a child, prints `ready`, and waits.
HOLDER = """
import os, pathlib, sys
from idrl_local.pidlocks import PidLock
PidLock(pathlib.Path(sys.argv[1])).acquire()
os.execvp("sh", ["sh", "-c", "sleep 60 & echo ready; wait"])
"""


@contextmanager
def lock_holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Have a process that holds this lock, and whose id is in the file."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            if PidLock(path).is_locked():
                os.killpg(process.pid, signal.SIGKILL)
