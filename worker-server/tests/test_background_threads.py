"""Background threads outlive every error, also one that is neither the database's nor Redis's."""

import errno
import time
from collections.abc import Callable

import psycopg2
import pytest
from flask import Flask
from sqlalchemy import text

from worker_server import sweeper
from worker_server.db import db
from worker_server.jobs.heartbeat import Heartbeat
from worker_server.jobs.shutdown import ShutdownFlag
from worker_server.jobs.worker_heartbeat import WorkerHeartbeat
from worker_server.queue import workers
from worker_server.settings import Settings
from worker_testing import claim_task, submit

pytestmark = pytest.mark.usefixtures("no_wakeups", "app")
ERRORS = [
    OSError(errno.EMFILE, "Too many open files"),
    RuntimeError("can't start new thread"),
    psycopg2.InterfaceError("connection already closed"),
]


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


class Connections:
    """New connections to PostgreSQL fail with `error` while there is one."""

    def __init__(self, connect: Callable[..., object]) -> None:
        self.error: Exception | None = None
        self.refused = 0
        self._connect = connect

    def __call__(self, *args: object, **options: object) -> object:
        if self.error is None:
            return self._connect(*args, **options)
        self.refused += 1
        raise self.error

    def fail(self, error: Exception) -> None:
        """Let every connection fail from now on."""
        self.refused = 0
        db.session.remove()
        db.engine.dispose()
        self.error = error


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Connections:
    connections = Connections(psycopg2.connect)
    monkeypatch.setattr(psycopg2, "connect", connections)
    return connections


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_sweep_round_ends_without_raising(connections: Connections, error: Exception) -> None:
    done: list[int] = []
    group = sweeper.Group(9, 0.01, [("sample", lambda: done.append(1))])
    connections.fail(error)
    assert not sweeper.run_round(group, "test:1")
    connections.error = None
    assert sweeper.run_round(group, "test:1")
    assert done == [1]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_worker_beats_again(
    app: Flask, connections: Connections, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(workers, "BEAT_S", 0.05)
    monkeypatch.setattr(workers, "ALIVE_S", 30)
    connections.fail(error)
    beat = WorkerHeartbeat(app, "test:7", ["render"])
    beat.start()
    wait_until(lambda: connections.refused)
    connections.error = None
    try:
        wait_until(lambda: workers.liveness().workers.get("render"))
    finally:
        beat.stop()


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_lease_is_renewed_again(
    app: Flask, settings: Settings, connections: Connections, error: Exception
) -> None:
    submit()
    lease = claim_task()
    db.session.execute(text("UPDATE tasks SET lease_until = now() + interval '5 s'"))
    db.session.commit()
    fast = settings.model_copy(update={"heartbeat_s": 0.05, "lease_s": 600.0})
    connections.fail(error)
    with Heartbeat(app, lease, fast, ShutdownFlag()):
        wait_until(lambda: connections.refused)
        connections.error = None
        renewed = text("SELECT lease_until > now() + interval '60 s' FROM tasks")
        wait_until(lambda: db.session.scalar(renewed))
        db.session.rollback()
