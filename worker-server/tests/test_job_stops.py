"""A job stops when its worker is stopped, its task deleted or its lease lost."""

import signal
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from sqlalchemy import text

from idrl_testing.waiting import wait_until
from worker_server.api import services
from worker_server.db import db
from worker_server.jobs.fetch import fetch_next
from worker_server.jobs.render import render_next
from worker_server.jobs.runtime import Runtime
from worker_server.media.process import child
from worker_server.settings import Settings
from worker_testing import files, parts_of, submit, task_of, waiting_wakeups

pytestmark = pytest.mark.usefixtures("no_wakeups", "app")
Sample = Callable[..., str]
Rendering = tuple[uuid.UUID, threading.Thread]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"render_preset": "ultrafast", "lease_s": 5.0})


@pytest.fixture
def stop(runtime: Runtime) -> Iterator[None]:
    """This worker is being stopped."""
    runtime.shutdown.set()
    yield
    runtime.shutdown.clear()


@pytest.mark.usefixtures("stop")
def test_stopped_worker_releases_its_leases(
    settings: Settings, site: str, sample: Sample, runtime: Runtime
) -> None:
    task_id = submit(f"{site}/{sample(2)}")
    assert fetch_next(settings, runtime)
    task = task_of(task_id)
    assert (task.status, task.failures, task.lease_until) == ("queued", 0, None)
    assert files(settings, task_id) == set()
    assert waiting_wakeups(settings, "fetch") == 1
    runtime.shutdown.clear()
    assert fetch_next(settings, runtime)
    runtime.shutdown.set()
    assert render_next(settings, runtime)
    assert [(part.status, part.failures) for part in parts_of(task_id)] == [("waiting", 0)]
    assert files(settings, task_id) == {"source.2"}


@pytest.fixture
def rendering(
    app: Flask, settings: Settings, site: str, sample: Sample, runtime: Runtime
) -> Iterator[tuple[uuid.UUID, threading.Thread]]:
    """A task whose only part is being rendered, slowly, and the thread that does it."""
    task_id = submit(f"{site}/{sample(20, size='640x360', rate=30)}")
    assert fetch_next(settings, runtime)

    def render() -> None:
        with app.app_context():
            render_next(settings.model_copy(update={"render_preset": "veryslow"}), runtime)

    worker = threading.Thread(target=render)
    worker.start()
    wait_until(lambda: parts_of(task_id)[0].status == "rendering")
    yield task_id, worker
    worker.join()


def test_render_stops_when_another_worker_claims_the_part(
    settings: Settings, rendering: Rendering
) -> None:
    task_id, worker = rendering
    db.session.execute(text("UPDATE parts SET attempt = attempt + 1, lease_owner = 'another'"))
    db.session.commit()
    worker.join()
    db.session.expire_all()
    (part,) = parts_of(task_id)
    assert (part.status, part.attempt, part.lease_owner) == ("rendering", 2, "another")
    assert files(settings, task_id) == {"source.1"}


def test_render_stops_when_the_task_is_deleted(settings: Settings, rendering: Rendering) -> None:
    task_id, worker = rendering
    assert services.delete_task(1, task_id) == "canceling"
    worker.join()
    assert task_of(task_id).status == "canceled"
    assert files(settings, task_id) == set()


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the child that runs a module hang before it is sent anything, as if its storage did."""
    popen = child._popen

    def hang_from_start(module: str) -> None:
        def started(arguments: list[str], *rest: object) -> "subprocess.Popen[bytes]":
            process = popen(arguments, *rest)  # type: ignore[arg-type] # the same
            if arguments[-1] == module:
                process.send_signal(signal.SIGSTOP)
            return process

        monkeypatch.setattr(child, "_popen", started)

    return hang_from_start


@contextmanager
def working(app: Flask, work: Callable[[], object]) -> Iterator[None]:
    """Do the work in another thread; it must be over after the block."""

    def run() -> None:
        with app.app_context():
            work()

    worker = threading.Thread(target=run)
    worker.start()
    yield
    db.session.rollback()  # PostgreSQL ends a transaction that is idle for long
    worker.join()


@pytest.mark.parametrize("method", ["delete", "stop"])
def test_hanging_probe_is_ended_by_a_stop(
    app: Flask,
    settings: Settings,
    site: str,
    sample: Sample,
    method: str,
    runtime: Runtime,
    hang: Callable[[str], None],
) -> None:
    hang("worker_server.media.probing.probe_child")
    task_id = submit(f"{site}/{sample(2)}")
    with working(app, lambda: fetch_next(settings, runtime)):
        wait_until(lambda: task_of(task_id).progress == 100)
        services.delete_task(1, task_id) if method == "delete" else runtime.shutdown.set()
    runtime.shutdown.clear()
    assert task_of(task_id).status == ("canceled" if method == "delete" else "queued")
    assert files(settings, task_id) == set()


@pytest.mark.parametrize("method", ["delete", "stop"])
def test_hanging_verification_is_ended_by_a_stop(
    app: Flask,
    settings: Settings,
    site: str,
    sample: Sample,
    method: str,
    runtime: Runtime,
    hang: Callable[[str], None],
) -> None:
    hang("worker_server.media.verifying.verify_child")
    task_id = submit(f"{site}/{sample(20, size='640x360', rate=30)}")
    assert fetch_next(settings, runtime)
    with working(app, lambda: render_next(settings, runtime)):
        wait_until(lambda: parts_of(task_id)[0].progress == 100)
        services.delete_task(1, task_id) if method == "delete" else runtime.shutdown.set()
    runtime.shutdown.clear()
    assert task_of(task_id).status == ("canceled" if method == "delete" else "processing")
    assert files(settings, task_id) == (set() if method == "delete" else {"source.1"})
