"""What a worker process keeps between two jobs: one object, made before the children are forked."""

import os
import socket
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from flask import Flask, current_app

from worker_server.jobs.shutdown import ShutdownFlag
from worker_server.media import WarmProber

_EXTENSION = "idrl_runtime"
_MAX_READABLE = 100


def worker_name() -> str:
    """Return this process's name: its host and its pid."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass
class SweepClock:
    """When this process last removed orphaned files (monotonic seconds).

    `left_leases`: its last round was late and reclaimed no lease; the next one does.
    """

    left_leases: bool = False
    orphans_removed_at: float | None = None

    def orphans_are_due(self, every_s: float) -> bool:
        """Return whether orphaned files were last removed more than `every_s` ago."""
        at = self.orphans_removed_at
        return at is None or time.monotonic() - at >= every_s


@dataclass(frozen=True)
class Runtime:
    """State of a worker process.

    `worker_name` is the main process's; `shutdown` is shared by all its children.
    `readable_sources` are the last files that the share has read to their end; each fetch of a
    source has another name.
    """

    worker_name: str = field(default_factory=worker_name)
    shutdown: ShutdownFlag = field(default_factory=ShutdownFlag)
    warm_prober: WarmProber = field(default_factory=WarmProber)
    sweep_clock: SweepClock = field(default_factory=SweepClock)
    readable_sources: deque[Path] = field(default_factory=lambda: deque(maxlen=_MAX_READABLE))


def attach(app: Flask) -> Runtime:
    """Give the app a runtime of its own, and return it."""
    runtime = app.extensions[_EXTENSION] = Runtime()
    return runtime


def current() -> Runtime:
    """Return the runtime of the current app."""
    runtime: Runtime = current_app.extensions[_EXTENSION]
    return runtime
