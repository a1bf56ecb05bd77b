"""Background threads outlive every error, also one that is neither the database's nor Redis's."""

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NoReturn

import psycopg2
import pytest
from celery import Celery
from flask import Flask
from kombu.exceptions import LimitExceeded
from sqlalchemy import Select, select, text

from idrl_testing.waiting import LIMIT_S, wait_until
from worker_server import sweeper
from worker_server.api.served_bytes import ServedBytes
from worker_server.db import db, transaction
from worker_server.jobs import webhook_senders
from worker_server.jobs.base import perform
from worker_server.jobs.heartbeat import Heartbeat
from worker_server.jobs.runtime import Runtime
from worker_server.jobs.shutdown import ShutdownFlag
from worker_server.jobs.worker_heartbeat import WorkerHeartbeat
from worker_server.models import MetricIncrement, Worker
from worker_server.queue import claims, totals, workers
from worker_server.queue.wakeups import WakeupSender
from worker_server.settings import Settings
from worker_testing import beating, claim_task, submit, task_of, waiting_wakeups

pytestmark = pytest.mark.usefixtures("no_wakeups", "lasting_heartbeats", "app")
ERRORS = [
    OSError(errno.EMFILE, "Too many open files"),
    RuntimeError("can't start new thread"),
    psycopg2.InterfaceError("connection already closed"),
]


class FailingConnections:
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
def connections(monkeypatch: pytest.MonkeyPatch) -> FailingConnections:
    connections = FailingConnections(psycopg2.connect)
    monkeypatch.setattr(psycopg2, "connect", connections)
    return connections


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_sweep_round_ends_without_raising(
    connections: FailingConnections, error: Exception
) -> None:
    done: list[int] = []
    group = sweeper.Group(9, 0.01, [("sample", lambda: done.append(1))])
    connections.fail(error)
    assert not sweeper.run_round(group, "test:1")
    connections.error = None
    assert sweeper.run_round(group, "test:1")
    assert done == [1]


class ProcessEnded(Exception):
    """`os._exit` was called."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_sweeper_ends_with_any_of_its_threads(
    app: Flask, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else no process would do that thread's steps, and none would be started to do them."""

    def end(status: int) -> NoReturn:
        raise ProcessEnded(status)

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(sweeper, "_WATCH_EVERY_S", 0.01)
    broken = sweeper.Sweeper(app, settings)
    healthy = sweeper.Group(8, 0.01, [("healthy", lambda: None)])
    broken._groups = [healthy, sweeper.Group(9, 0.01, [("broken", sys.exit)])]
    limit = threading.Timer(LIMIT_S, broken.stop)
    limit.start()
    try:
        with pytest.raises(ProcessEnded, match="1"):
            broken.run()
    finally:
        limit.cancel()
        broken.stop()
        broken._heartbeat.stop()


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_worker_sends_heartbeats_again(
    app: Flask, connections: FailingConnections, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(workers, "HEARTBEAT_EVERY_S", 0.05)
    connections.fail(error)
    with beating(WorkerHeartbeat(app, "test:7", ["render"])):
        wait_until(lambda: connections.refused)
        connections.error = None
        wait_until(lambda: workers.liveness().workers.get("render"))


@pytest.fixture
def failing_ends(app: Flask) -> Iterator[list[str]]:
    """The threads whose first app context ended with an error, as where its session cannot end."""
    failed: list[str] = []

    def fail_once(_: BaseException | None) -> None:
        name = threading.current_thread().name
        if name.startswith(("worker-heartbeat", "webhooks-")) and name not in failed:
            failed.append(name)
            raise MemoryError

    app.teardown_appcontext(fail_once)
    yield failed
    app.teardown_appcontext_funcs.remove(fail_once)


def test_worker_sends_heartbeats_after_a_context_that_failed(
    app: Flask, failing_ends: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker seemed dead while it went on with its work."""
    monkeypatch.setattr(workers, "HEARTBEAT_EVERY_S", 0.05)
    heartbeat = WorkerHeartbeat(app, "test:8", ["render"])
    heartbeat.start()
    try:
        wait_until(lambda: failing_ends)
        seen_at = select(Worker.seen_at).where(Worker.name == "test:8")
        first = db.session.scalar(seen_at)
        db.session.rollback()
        wait_until(lambda: read(seen_at) != first)
    finally:
        heartbeat.stop()


def read(statement: Select[tuple[datetime]]) -> datetime | None:
    """Return the value in a transaction of its own."""
    with transaction() as session:
        return session.scalar(statement)


def test_webhooks_are_sent_after_contexts_that_failed(
    app: Flask,
    settings: Settings,
    failing_ends: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All four threads of a worker had ended, and its other work went on."""
    monkeypatch.setattr(webhook_senders, "_POLL_S", 0.05)
    senders = webhook_senders.WebhookSenders(app, settings)
    senders.start()
    try:
        wait_until(lambda: len(failing_ends) == len(senders._threads))
        attempts: list[str] = []
        monkeypatch.setattr(
            webhook_senders,
            "send_due",
            lambda *_: attempts.append(threading.current_thread().name),
        )
        wait_until(lambda: set(attempts) == set(failing_ends))
    finally:
        senders.stop()


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_lease_is_renewed_again(
    app: Flask, settings: Settings, connections: FailingConnections, error: Exception
) -> None:
    submit()
    lease = claim_task()
    db.session.execute(text("UPDATE tasks SET lease_until = now() + interval '50 s'"))
    db.session.commit()
    fast = settings.model_copy(update={"heartbeat_s": 0.05, "lease_s": 600.0})
    connections.fail(error)
    with Heartbeat(app, lease, fast, ShutdownFlag()):
        wait_until(lambda: connections.refused)
        connections.error = None
        renewed = text("SELECT lease_until > now() + interval '60 s' FROM tasks")
        wait_until(lambda: db.session.scalar(renewed))
        db.session.rollback()


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of threads that could not be started, once each; later ones start."""
    refused: list[str] = []
    start = threading.Thread.start

    def start_later(thread: threading.Thread) -> None:
        if thread.name in {"wakeups", "served-bytes", "heartbeat"} and thread.name not in refused:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_later)
    return refused


def test_wakeups_are_sent_once_a_thread_can_be_started(
    settings: Settings, no_threads: list[str]
) -> None:
    sender = WakeupSender()
    sender.send("fetch")
    assert no_threads == ["wakeups"]
    sender.send("fetch")
    wait_until(lambda: waiting_wakeups(settings, "fetch") == 2)


def test_wakeups_are_sent_after_an_unexpected_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []

    def refuse(_: Celery) -> NoReturn:
        refused.append("wake-up")
        raise LimitExceeded

    sender = WakeupSender(pause_s=0)
    with monkeypatch.context() as broken:
        broken.setattr(Celery, "producer_or_acquire", refuse)
        sender.send("fetch")
        wait_until(lambda: refused)

    def is_sent() -> bool:
        sender.send("fetch")
        return waiting_wakeups(settings, "fetch") > 0

    wait_until(is_sent)


def test_served_bytes_are_counted_once_a_thread_can_be_started(
    app: Flask, no_threads: list[str]
) -> None:
    served = ServedBytes(app, flush_every_s=0.05)
    served.add(3)
    assert no_threads == ["served-bytes"]
    served.add(4)
    wait_until(lambda: is_counted(7))


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_served_bytes_are_counted_after_any_error(
    app: Flask, connections: FailingConnections, error: Exception
) -> None:
    served = ServedBytes(app, flush_every_s=0.05)
    connections.fail(error)
    served.add(7)
    wait_until(lambda: connections.refused)
    connections.error = None
    wait_until(lambda: is_counted(7))


def is_counted(amount: int) -> bool:
    """Return whether this amount was added in one piece.

    Threads of tests before may still add what those have served: up to five seconds later.
    """
    of_bytes = MetricIncrement.metric == totals.BYTES.name
    added = select(MetricIncrement.id).where(of_bytes, MetricIncrement.amount == amount)
    with transaction() as session:
        return session.scalar(added) is not None


def test_lease_is_released_where_the_heartbeat_cannot_start(
    settings: Settings, runtime: Runtime, no_threads: list[str]
) -> None:
    task_id = submit()
    claim = claims.claim_task("me", 30)
    assert claim is not None
    perform(claim, settings, runtime, lambda _: None)
    assert no_threads == ["heartbeat"]
    task = task_of(task_id)
    assert (task.status, task.lease_owner, task.failures) == ("queued", None, 0)
