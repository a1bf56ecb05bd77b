"""Child processes that end with their parent, stay within limits, and leave nothing behind."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker_server.media import guard

_STOP_GRACE_S = 2.0


@dataclass(frozen=True)
class ChildLimits:
    """What the kernel holds a child to; 0 is no limit."""

    cpu_s: int = 0
    memory_bytes: int = 0
    file_bytes: int = 0
    open_files: int = 64
    nice: int = 0


class ChildFailed(Exception):
    """A Python child of ours gave no answer: it was too slow, hit a limit or crashed."""


class ChildLost(ChildFailed):
    """It was too slow or somebody ended it, which may be the machine's fault rather than the question's."""


def spawn(command: list[str], limits: ChildLimits, scratch: Path | None = None) -> "subprocess.Popen[bytes]":
    """Start a program as the leader of its own session, with both outputs as pipes.

    It is killed when the calling *thread* ends, so call this from one that outlives the child.
    """
    return subprocess.Popen(
        guarded(command, limits),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd=scratch,
        env=_environment(scratch),
    )


def guarded(command: list[str], limits: ChildLimits) -> list[str]:
    """Return the command that runs `command` within limits, as long as the calling thread lives."""
    program = shutil.which(command[0])
    if program is None:
        raise FileNotFoundError(command[0])
    numbers = (os.getpid(), limits.nice, limits.cpu_s, limits.memory_bytes, limits.file_bytes, limits.open_files)
    return [sys.executable, "-I", "-S", guard.__file__, *map(str, numbers), program, *command[1:]]


def end(process: "subprocess.Popen[bytes]", grace_s: float = _STOP_GRACE_S) -> int:
    """Stop the whole process group, kill what is still there after `grace_s`, reap, and return the exit status."""
    if process.returncode is None:
        if not has_ended(process):
            _signal_group(process.pid, signal.SIGTERM)
            await_end(process, grace_s)
        # Before the leader is reaped, so that its number cannot belong to somebody else yet.
        _signal_group(process.pid, signal.SIGKILL)
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()
    return process.wait()


def has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """Tell whether the child is over, without reaping it."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def ask(module: str, question: dict[str, Any], limits: ChildLimits, timeout_s: float) -> dict[str, Any]:
    """Run one of this package's child modules: JSON in as its only argument, JSON out on its standard output.

    Raise ChildFailed if there is no answer in time.
    """
    command = [sys.executable, "-I", "-m", module, json.dumps(question)]
    process = spawn(command, limits)
    try:
        answer, complaint = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise ChildLost(f"no answer within {timeout_s:g} s") from error
    finally:
        end(process, grace_s=0)
    if process.returncode < 0 and process.returncode != -signal.SIGXCPU:
        raise ChildLost(f"ended by signal {-process.returncode}")
    if process.returncode != 0:
        raise ChildFailed(f"exit status {process.returncode}: {complaint[-500:].decode(errors='replace')}")
    found: dict[str, Any] = json.loads(answer)
    return found


def await_end(process: "subprocess.Popen[bytes]", timeout_s: float) -> None:
    """Wait until the child is over, for so long at most, without reaping it."""
    descriptor = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(timeout_s * 1000)
    finally:
        os.close(descriptor)


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def _environment(scratch: Path | None) -> dict[str, str]:
    """A child gets no setting and no secret of ours."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {"LC_ALL": "C.UTF-8", "TMPDIR": str(scratch or "/tmp")}  # noqa: S108
