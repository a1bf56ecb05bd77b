"""Child processes that end with their parent, stay within limits, and leave nothing behind."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from worker_server.media.errors import Stopped
from worker_server.media.process import guard

_STOP_GRACE_S = 2.0
_LOOK_S = 0.2


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
    """It was too slow or somebody ended it, which may be the machine's fault rather than the payload's."""


class Child:
    """One of this package's child modules: it loads its libraries while it waits for the one payload it answers.

    Start it ahead of the payload, in the thread that will ask; it is ended with the block.
    """

    def __init__(self, module: str, limits: ChildLimits) -> None:
        self._module = module
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "subprocess.Popen[bytes]":
        """Start it, unless it was started before, and return its process."""
        if self._process is None:
            command = [sys.executable, "-I", "-m", self._module]
            self._process = spawn(command, self._limits, stdin=subprocess.PIPE)
        return self._process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        if self._process:
            end(self._process, grace_s=0)

    def request(
        self, payload: dict[str, Any], timeout_s: float, should_stop: Callable[[], bool]
    ) -> dict[str, Any]:
        """Return the answer, both as JSON; `should_stop` is asked about five times a second.

        Raise ChildFailed if there is no answer in time, Stopped once `should_stop` said so.
        """
        process = self.start()
        try:
            answer, stderr_tail = _communicate(
                process, json.dumps(payload).encode(), timeout_s, should_stop
            )
        finally:
            status = end(process, grace_s=0)
        if status < 0 and status != -signal.SIGXCPU:
            raise ChildLost(f"ended by signal {-status}")
        if status != 0:
            raise ChildFailed(
                f"exit status {status}: {stderr_tail[-500:].decode(errors='replace')}"
            )
        found: dict[str, Any] = json.loads(answer)
        return found


def _communicate(
    process: "subprocess.Popen[bytes]",
    payload: bytes,
    timeout_s: float,
    should_stop: Callable[[], bool],
) -> tuple[bytes, bytes]:
    """Return all that the child says on both outputs until it ends."""
    deadline = time.monotonic() + timeout_s
    unsent: bytes | None = payload
    while True:
        left_s = deadline - time.monotonic()
        try:
            return process.communicate(unsent, timeout=min(_LOOK_S, max(0.0, left_s)))
        except subprocess.TimeoutExpired as error:
            unsent = None  # it has it by now, or will: what was given once goes on being sent
            if should_stop():
                raise Stopped from error
            if left_s <= _LOOK_S:
                raise ChildLost(f"no answer within {timeout_s:g} s") from error


def spawn(
    command: list[str],
    limits: ChildLimits,
    scratch: Path | None = None,
    stdin: int = subprocess.DEVNULL,
) -> "subprocess.Popen[bytes]":
    """Start a program as the leader of its own session, with both outputs as pipes.

    It is killed when the calling *thread* ends, so call this from one that outlives the child.
    """
    return subprocess.Popen(
        guarded(command, limits),
        stdin=stdin,
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
    numbers = (
        os.getpid(),
        limits.nice,
        limits.cpu_s,
        limits.memory_bytes,
        limits.file_bytes,
        limits.open_files,
    )
    return [sys.executable, "-I", "-S", guard.__file__, *map(str, numbers), program, *command[1:]]


def end(process: "subprocess.Popen[bytes]", grace_s: float = _STOP_GRACE_S) -> int:
    """Stop the whole process group, kill what is still there after `grace_s`, reap, and return the exit status."""
    if process.returncode is None:
        if not has_ended(process):
            _signal_group(process.pid, signal.SIGTERM)
            await_end(process, grace_s)
        # Before the leader is reaped, so that its number cannot belong to somebody else yet.
        _signal_group(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()
    return process.wait()


def has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """Tell whether the child is over, without reaping it."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


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
