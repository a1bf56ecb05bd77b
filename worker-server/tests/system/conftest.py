"""Real Celery workers as processes, on real Redis and PostgreSQL, with a site on loopback."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from idrl_local import servers
from worker_server.app import create_app
from worker_server.db import db
from worker_server.models import Part, Task
from worker_server.queue import submissions
from worker_server.queue.submissions import Submission
from worker_server.settings import Settings
from worker_testing import parts_of

PASSWORD = "only-on-loopback"


class Redis:
    """A Redis that can be killed and started again, empty."""

    def __init__(self, binaries: servers.Binaries, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self.port = servers.free_port()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        data = self._folder / uuid.uuid4().hex
        data.mkdir(parents=True)
        command = servers.redis_command(self._binaries, data, self.port, PASSWORD)
        with (data / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        servers.wait_for_port(self.port, self.process)

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


class Workers:
    """The worker machine's processes; each is a process group that can be killed as a whole."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self._settings = settings
        self._log = log
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(
        self, queues: str = "fetch,render", concurrency: int = 2
    ) -> "subprocess.Popen[bytes]":
        name = f"{queues.replace(',', '-')}-{len(self.processes)}@test"
        return self._run("-Q", queues, "-c", str(concurrency), "-n", name)

    def start_sweeper(self) -> "subprocess.Popen[bytes]":
        return self._start([sys.executable, "-m", "worker_server.sweeper"])

    def kill(self, process: "subprocess.Popen[bytes]") -> None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop_all(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def log(self) -> str:
        return self._log.read_text()

    def _run(self, *arguments: str) -> "subprocess.Popen[bytes]":
        command = [
            sys.executable,
            "-m",
            "celery",
            "-q",
            "-A",
            "worker_server.worker:app",
            "worker",
            *arguments,
        ]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        return self._start(command)

    def _start(self, command: list[str]) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env=self._environment(),
                start_new_session=True,
                cwd=self._log.parent,
            )
        self.processes.append(process)
        return process

    def _environment(self) -> dict[str, str]:
        values = self._settings.model_dump(exclude_none=True)
        values["fetch_allow_hosts"] = ",".join(self._settings.fetch_allow_hosts)
        return {**os.environ, **{name.upper(): str(value) for name, value in values.items()}}


@pytest.fixture
def redis_server(binaries: servers.Binaries, tmp_path: Path) -> Iterator[Redis]:
    server = Redis(binaries, tmp_path / "redis")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def settings(settings: Settings, redis_server: Redis) -> Settings:
    """The settings of a system whose clocks tick fast."""
    changes = {
        "redis_url": redis_server.url,
        "lease_s": 3.0,
        "sweep_s": 1.0,
        "heartbeat_s": 0.3,
        "render_threads": 1,
    }
    return settings.model_copy(update=changes)


@pytest.fixture
def workers(settings: Settings, tmp_path: Path) -> Iterator[Workers]:
    workers = Workers(settings, tmp_path / "workers.log")
    yield workers
    workers.stop_all()


@pytest.fixture
def default_workers(settings: Settings, tmp_path: Path) -> Iterator[Workers]:
    """Workers with the default lease, heartbeat and sweep."""
    names = ("lease_s", "sweep_s", "heartbeat_s")
    defaults = {name: Settings.model_fields[name].default for name in names}
    workers = Workers(settings.model_copy(update=defaults), tmp_path / "default-workers.log")
    yield workers
    workers.stop_all()


class System:
    """What a test does and sees: tasks posted, rows read, files and processes inspected."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app = app
        self.settings = settings

    def post(self, url: str, owner_id: int = 1) -> uuid.UUID:
        """Store a task as the API does; the sweeper sends the wake-up."""
        return submissions.create_task(Submission(owner_id, url))[0].id

    def task(self, task_id: uuid.UUID) -> Task:
        db.session.rollback()
        db.session.expire_all()
        task = db.session.get(Task, task_id)
        assert task is not None
        return task

    def parts(self, task_id: uuid.UUID) -> list[Part]:
        db.session.rollback()
        return parts_of(task_id)

    def wait(self, condition: Callable[[], object], timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.05)

    def wait_for(self, task_id: uuid.UUID, *statuses: str, timeout_s: float = 60) -> Task:
        ended = ("done", "failed", "canceled")
        self.wait(lambda: self.task(task_id).status in (*statuses, *ended), timeout_s)
        task = self.task(task_id)
        assert task.status in statuses, (task.status, task.error_code, task.error_message)
        return task

    def encoders(self) -> list[int]:
        """Return the pids of the processes that encode for this system."""
        entries = (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return [int(entry.name) for entry in entries if self._is_encoder(entry)]

    def files(self, task_id: uuid.UUID) -> set[str]:
        folder = self.settings.remote_folder / str(task_id)
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    def scratch(self) -> list[Path]:
        folder = self.settings.scratch_folder
        return list(folder.iterdir()) if folder.exists() else []

    def _is_encoder(self, entry: Path) -> bool:
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        scratch = os.fsencode(self.settings.scratch_folder)
        return b"ffmpeg" in command[0] and any(scratch in argument for argument in command)


@pytest.fixture
def system(settings: Settings) -> Iterator[System]:
    app = create_app(settings)
    with app.app_context():
        yield System(app, settings)
        db.session.remove()
        db.engine.dispose()
