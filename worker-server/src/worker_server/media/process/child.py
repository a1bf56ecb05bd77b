"""Child processes that end with their parent, stay within limits, and leave nothing behind."""

import functools
import importlib.util
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from worker_server.errors import FailureCode
from worker_server.media.errors import EncodeFailed, MediaError, MediaProcessCrashed, Stopped
from worker_server.media.process import guard
from worker_server.media.process.pipes import Pipes

MAX_RESPONSE_BYTES = 32 * 1024**2
_STOP_GRACE_S = 2.0
_POLL_S = 0.2
# An editable installation lies outside the prefix.
_SOURCE_ROOT = Path(__file__).resolve().parents[3]
_LIMIT_SIGNALS = (signal.SIGXCPU, signal.SIGXFSZ)
_OUTSIDE_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_MEMORY = ("MemoryError", "Cannot allocate memory")


@dataclass(frozen=True)
class ChildLimits:
    """Resource limits (setrlimit(2)) and niceness of a child; 0 is no limit."""

    cpu_s: int = 0
    memory_bytes: int = 0
    file_bytes: int = 0
    open_files: int = 64
    # RLIMIT_NPROC counts all processes and threads of the user: renders have a few per core. The
    # limit stops a fork bomb before the machine runs out of pids.
    processes: int = 4096 + 256 * (os.cpu_count() or 1)
    nice: int = 0


@dataclass(frozen=True)
class ChildFiles:
    """The files that a sandboxed child may use besides its program; a folder stands for all inside.

    `write` holds files that exist, and folders in which it may make and remove files.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    programs: tuple[Path, ...] = ()  # executables; Python and its packages are always allowed

    def as_arguments(self) -> list[str]:
        """Return the files as command-line arguments of `guard`."""
        kinds = (("r", self.read), ("w", self.write), ("x", (*_runtime(), *self.programs)))
        return [f"{kind}:{path.absolute()}" for kind, paths in kinds for path in paths]


@functools.cache
def _runtime() -> tuple[Path, ...]:
    """Return the folders of Python and all packages; never a whole prefix such as /usr."""
    prefixes = {Path(sys.prefix), Path(sys.base_prefix)}
    names = ("bin", "lib", "lib64", "pyvenv.cfg")
    return (*(prefix / name for prefix in prefixes for name in names), _SOURCE_ROOT)


class ChildFailed(Exception):
    """A Python child process gave no response."""


class ChildLost(ChildFailed):
    """The child was too slow, or was ended from outside: the machine's or the storage's fault."""


class ChildLimitHit(ChildFailed):
    """The child used up its processor time, memory or file size: the payload's fault."""


class ChildCrashed(ChildFailed):
    """The child ended in any other way: a fault of the system. `str()` has its last errors."""


def as_media_error(error: ChildFailed, child: str, too_slow: str) -> MediaError:
    """Return the failure of a job whose child, called `child` in the log, gave no response.

    A lost child is EncodeFailed (`probe_timeout`, retryable) with the message `too_slow`; any
    other is MediaProcessCrashed. Catch ChildLimitHit first where the payload is to be refused.
    """
    if isinstance(error, ChildLost):
        return EncodeFailed(FailureCode.PROBE_TIMEOUT, too_slow, retryable=True)
    return MediaProcessCrashed(child, str(error))


class Child:
    """A child process that runs one of this package's child modules and answers one request.

    Start it ahead of the request, so that its libraries are loaded by then, and in the thread that
    will send the request. Leaving the `with` block ends it. seccomp applies from its start;
    Landlock leaves it only the request's files before it opens the first of them.
    """

    def __init__(self, module: str, limits: ChildLimits) -> None:
        self._module = module
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the child, unless it was started before, and return its process."""
        if self._process is None:
            # The fault handler says on standard error where a decoder crashed.
            command = [sys.executable, "-I", "-X", "faulthandler", "-m", self._module]
            arguments = guarded(command, self._limits, guard.SYSCALLS)
            self._process = _popen(arguments, None, subprocess.PIPE)
        return self._process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the child, if it was started."""
        if self._process:
            end(self._process, grace_s=0)

    def request(
        self,
        payload: dict[str, Any],
        timeout_s: float,
        should_stop: Callable[[], bool],
        files: ChildFiles = ChildFiles(),  # frozen, so a shared default is safe
    ) -> dict[str, Any]:
        """Send `payload` and return the response; call `should_stop` about five times a second.

        Raise ChildLost, ChildLimitHit or ChildCrashed if there is no response, Stopped once
        `should_stop` returned true.
        """
        process = self.start()
        request = {"files": files.as_arguments(), "payload": payload}
        try:
            response, stderr_tail = _communicate(
                process, json.dumps(request).encode(), timeout_s, should_stop
            )
        finally:
            status = end(process, grace_s=0)
        if status != 0:
            raise _failure(status, stderr_tail.decode(errors="replace"))
        return _document(response)


def _failure(status: int, stderr_tail: str) -> ChildFailed:
    """Return what the exit status of a Python child means."""
    if -status in _LIMIT_SIGNALS:
        return ChildLimitHit(f"ended by signal {-status}")
    if -status in _OUTSIDE_SIGNALS:
        return ChildLost(f"ended by signal {-status}")
    last_line = stderr_tail.strip().rpartition("\n")[2]
    if any(pattern in last_line for pattern in _MEMORY):
        return ChildLimitHit(f"out of memory: {last_line}")
    return ChildCrashed(f"exit status {status}: {stderr_tail.strip()}")


def _document(response: bytes) -> dict[str, Any]:
    """Return the response, which a child under a hostile file's control may have written."""
    try:
        document = json.loads(response)
    except (ValueError, RecursionError) as error:
        raise ChildCrashed(f"no response in JSON: {type(error).__name__}") from error
    if not isinstance(document, dict):
        raise ChildCrashed("the response is no JSON object")
    return document


def _communicate(
    process: "subprocess.Popen[bytes]",
    request: bytes,
    timeout_s: float,
    should_stop: Callable[[], bool],
) -> tuple[bytes, bytes]:
    """Send the request; return the response and the end of standard error once the child has ended.

    The child is not reaped yet, so that `end` may still kill what it has started.
    """
    response = bytearray()

    def receive(chunk: bytes) -> None:
        response.extend(chunk)
        if len(response) > MAX_RESPONSE_BYTES:
            raise ChildCrashed(f"more than {MAX_RESPONSE_BYTES} bytes on standard output")

    deadline = time.monotonic() + timeout_s
    with Pipes(process, receive, request) as pipes:
        while not pipes.has_ended:
            pipes.transfer(_POLL_S)
            if should_stop():
                raise Stopped
            if time.monotonic() > deadline:
                raise ChildLost(f"no response within {timeout_s:g} s")
        _signal_group(process.pid, signal.SIGKILL)  # others may hold the pipes open
        pipes.drain()
        return bytes(response), pipes.stderr_tail


def spawn(
    command: list[str], limits: ChildLimits, files: ChildFiles, scratch: Path | None = None
) -> "subprocess.Popen[bytes]":
    """Start a program in the sandbox, as the leader of its own session, with both outputs as pipes.

    It is killed when the calling *thread* ends, so call this from one that outlives the child.
    """
    arguments = guarded(command, limits, guard.ALL, files)
    return _popen(arguments, scratch, subprocess.DEVNULL)


def _popen(arguments: list[str], scratch: Path | None, stdin: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        arguments,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd=scratch,
        env=_environment(scratch),
    )


def guarded(
    command: list[str],
    limits: ChildLimits,
    sandbox: str = guard.NONE,
    files: ChildFiles = ChildFiles(),  # frozen, so a shared default is safe
) -> list[str]:
    """Return the command that runs `command` within limits, as long as the calling thread lives.

    `sandbox` is NONE for a process that a sandboxed child starts: it inherits the sandbox.
    """
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
        limits.processes,
    )
    guard_words = [*map(str, numbers), sandbox]
    if sandbox == guard.ALL:
        guard_words += [*files.as_arguments(), f"x:{program}"]
    program_words = ["--", program, *command[1:]]
    return [sys.executable, "-I", "-S", _guard_script(), *guard_words, *program_words]


@functools.cache
def _guard_script() -> str:
    """Return the guard's .pyc if it is current: Python compiles a .py script at each start."""
    compiled = Path(importlib.util.cache_from_source(guard.__file__))
    status = Path(guard.__file__).stat()
    size_and_time = (int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF)
    try:
        header = compiled.read_bytes()[:16]  # PEP 552
    except OSError:
        return guard.__file__
    is_current = header == struct.pack("<4sIII", importlib.util.MAGIC_NUMBER, 0, *size_and_time)
    return str(compiled) if is_current else guard.__file__


def end(process: "subprocess.Popen[bytes]", grace_s: float = _STOP_GRACE_S) -> int:
    """Terminate the process group, kill it after `grace_s`, reap, return the exit status."""
    if process.returncode is None:
        if not has_ended(process):
            _signal_group(process.pid, signal.SIGTERM)
            await_end(process, grace_s)
        # Before the leader is reaped: until then its pid cannot be that of another process.
        _signal_group(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()
    return process.wait()


def has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """Return whether the child has ended, without reaping it."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def await_end(process: "subprocess.Popen[bytes]", timeout_s: float) -> None:
    """Wait until the child has ended, for at most `timeout_s`, without reaping it."""
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
    """Return the environment of a child: none of the worker's settings and secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {"LC_ALL": "C.UTF-8", "TMPDIR": str(scratch or "/tmp")}  # noqa: S108 # not opened
