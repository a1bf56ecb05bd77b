"""Tests what the sandbox of the decoders blocks on this machine.

`python -m worker_server.media.process.check_sandbox` prints the result.
"""

import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker_server.media.process import escape_attempts, guard
from worker_server.media.process.child import ChildFiles, ChildLimits, end, spawn

NEEDED = ("read the source", "write to scratch", "remove from scratch", "start a process")
_SIGNAL = "signal the parent"
_SIGNAL_SCOPE_VERSION = 6  # Landlock ABI from which signals can be restricted
_TIMEOUT_S = 30


@dataclass(frozen=True)
class SandboxReport:
    """What a compromised decoder can do, of all that `escape_attempts` tries."""

    landlock: int  # Landlock ABI version of the kernel, 0 for none
    missing: tuple[str, ...]  # operations that decoders need, but were refused
    escapes: tuple[str, ...]  # operations that should have been refused, but succeeded

    @property
    def holds(self) -> bool:
        """Return whether untrusted files may be decoded."""
        accepted = {_SIGNAL} if 0 < self.landlock < _SIGNAL_SCOPE_VERSION else set()
        return not self.missing and not set(self.escapes) - accepted

    @property
    def level(self) -> str:
        """The level for people and metrics: `landlock-7+seccomp`, or `none`."""
        return f"landlock-{self.landlock}+seccomp" if self.holds else "none"


def sandbox_report() -> SandboxReport:
    """Return what `measure_sandbox` found first; level `none` until it has found something.

    It finds nothing while this machine has no space, memory or process left. One thread measures at
    a time, the others wait for it: the names of its sockets are those of this process.
    """
    try:
        with _measuring:
            return _measured()
    except (guard.SandboxFailed, OSError):
        return SandboxReport(0, NEEDED, ())


_measuring = threading.Lock()


@functools.cache
def _measured() -> SandboxReport:
    return measure_sandbox()


def measure_sandbox() -> SandboxReport:
    """Run `escape_attempts` in a decoder's place. Takes about a tenth of a second.

    Raise SandboxFailed where they end with an error, or do not end.
    """
    with tempfile.TemporaryDirectory(prefix="idrl-sandbox-") as folder:
        root = Path(folder).resolve()
        scratch, outside = root / "scratch", root / "outside"
        scratch.mkdir()
        outside.mkdir()
        for name in ("source", "secret", "outside/removable"):
            (root / name).write_bytes(name.encode())
        with _listeners(root) as addresses:
            targets = {
                "parent": os.getpid(),
                "scratch": str(scratch),
                "outside": str(outside),
                "source": str(root / "source"),
                "secret": str(root / "secret"),
                **addresses,
            }
            return _report(_run(targets, ChildFiles((root / "source",), (scratch,)), scratch))


def _run(targets: dict[str, Any], files: ChildFiles, scratch: Path) -> dict[str, bool]:
    command = [sys.executable, "-I", escape_attempts.__file__, json.dumps(targets)]
    process = spawn(command, ChildLimits(cpu_s=_TIMEOUT_S), files, scratch)
    try:
        answer, stderr = process.communicate(timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:  # the machine starves, or the child was stopped
        raise guard.SandboxFailed(f"no end after {error.timeout} s") from error
    finally:
        status = end(process, grace_s=0)
    if status:
        raise guard.SandboxFailed(f"exit status {status}: {stderr.decode(errors='replace')}")
    permitted: dict[str, bool] = json.loads(answer)
    return permitted


def _report(permitted: dict[str, bool]) -> SandboxReport:
    missing = tuple(name for name in NEEDED if not permitted[name])
    escapes = tuple(name for name, done in permitted.items() if done and name not in NEEDED)
    return SandboxReport(guard.landlock_version(), missing, escapes)


@contextmanager
def _listeners(folder: Path) -> Iterator[dict[str, Any]]:
    """Listen on one socket of each kind, as Redis, PostgreSQL and a supervisor do."""
    with ExitStack() as stack:
        tcp, udp, file, abstract = (
            stack.enter_context(socket.socket(family, kind))
            for family, kind in (
                (socket.AF_INET, socket.SOCK_STREAM),
                (socket.AF_INET, socket.SOCK_DGRAM),
                (socket.AF_UNIX, socket.SOCK_STREAM),
                (socket.AF_UNIX, socket.SOCK_STREAM),
            )
        )
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", 0))
        path, name = str(folder / "socket"), f"\0idrl-sandbox-{os.getpid()}"
        file.bind(path)
        abstract.bind(name)
        for listener in (tcp, file, abstract):
            listener.listen()
        yield {
            "tcp": tcp.getsockname(),
            "udp": udp.getsockname(),
            "unix": path,
            "abstract": name,
        }
