"""A whole system on loopback, measured from outside: by its API, its rows and its files."""

import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import psutil

from bench.database import connect
from idrl_client import Client
from idrl_local import sample, system
from idrl_local.config import RATE_LIMITS_OFF
from idrl_local.home import Home, free_ports
from idrl_local.programs import PROGRAMS, READY_FILE, Installation, is_passed_on

_POLL_S = 0.05
_TIMEOUT_S = 600
_SETTINGS = {"FETCH_ALLOW_HOSTS": "127.0.0.1", **RATE_LIMITS_OFF}
Row = tuple[Any, ...]


class TookTooLong(Exception):
    """The awaited state was not reached in time."""


@dataclass(frozen=True)
class RunningSystem:
    """A running system, one account, and the address of the video it fetches."""

    installation: Installation
    client: Client
    url: str

    @property
    def share(self) -> Path:
        return self.installation.home.share

    @property
    def scratch(self) -> Path:
        return self.installation.home.root / "scratch"

    def post(
        self, url: str | None = None, quality: Literal["fast", "balanced", "small"] = "balanced"
    ) -> str:
        """Submit the video and return the task's id."""
        task = self.client.create_task({"url": url or self.url, "edit": {"quality": quality}})
        return task["task_id"]

    def delete(self, task_id: str) -> None:
        """Abort or delete the task, and wait until no worker has it."""
        self.client.delete_task(task_id)
        self.wait_until(
            "SELECT count(*) = 0 FROM tasks WHERE id = %s AND status = 'canceling'", task_id
        )

    def rows(self, query: str, *values: object) -> list[Row]:
        """Run a query; times are returned as seconds since the epoch."""
        connection = connect(self.installation)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(query, values)
                return [tuple(map(_plain, row)) for row in cursor.fetchall()]
        finally:
            connection.close()

    def wait_until(self, query: str, *values: object, every_s: float = _POLL_S) -> None:
        """Return once a query yields true. Raises TookTooLong."""
        deadline = time.monotonic() + _TIMEOUT_S
        while not self.rows(query, *values)[0][0]:
            if time.monotonic() > deadline:
                raise TookTooLong(f"{query} {values}")
            time.sleep(every_s)


@contextmanager
def running(video: Path, **settings: str) -> Iterator[RunningSystem]:
    """Run a system and a server of the video while the block runs; `settings` are its variables."""
    with tempfile.TemporaryDirectory(prefix="idrl-bench-") as folder:
        home = Home(Path(folder) / "home")
        environment = {**os.environ, **_SETTINGS, **settings}
        with (
            system.running(home, free_ports(), environment) as installation,
            sample.served(video) as url,
        ):
            (home.root / "scratch").mkdir(exist_ok=True)
            yield RunningSystem(installation, account(installation), url)


def account(installation: Installation) -> Client:
    """Return a client for an account of its own."""
    name = f"bench{uuid.uuid4().hex[:8]}"
    return Client.signed_up(
        installation.url, name, f"{name}@example.com", f"Aa1-{uuid.uuid4().hex}"
    )


@contextmanager
def render_worker(live: RunningSystem, name: str) -> Iterator[psutil.Process]:
    """Run one more render worker, with one child, while the block runs."""
    installation = live.installation
    program = next(program for program in PROGRAMS if program.name == "render")
    ready = installation.home.run / f"{name}.ready"
    ready.unlink(missing_ok=True)
    kept = {key: value for key, value in installation.environment.items() if is_passed_on(key)}
    environment = {**kept, **program.environment(installation), READY_FILE: str(ready)}
    command = [
        {"render@%h": f"{name}@%h"}.get(word, word) for word in program.command(installation)
    ]
    with (installation.home.logs / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        while not ready.exists() and process.poll() is None:
            time.sleep(_POLL_S)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def pin(process: psutil.Process, cores: Sequence[int]) -> None:
    """Pin a process, its children and all of their future children to these cores."""
    for member in (process, *process.children(recursive=True)):
        member.cpu_affinity(list(cores))


def _plain(value: object) -> object:
    return value.timestamp() if isinstance(value, datetime) else value
