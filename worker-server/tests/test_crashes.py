"""A process dies at the worst moment, or its clock is wrong: nothing is lost or duplicated."""

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from idrl_testing.database import Database
from idrl_testing.http_servers import serving
from idrl_testing.waiting import wait_until
from worker_server.api import services
from worker_server.app import create_app
from worker_server.jobs import sweep
from worker_server.jobs.fetch import fetch_next
from worker_server.jobs.render import render_next
from worker_server.jobs.runtime import Runtime, SweepClock
from worker_server.queue import backlog, leases
from worker_server.settings import Settings
from worker_testing import (
    claim_part,
    expire_leases,
    files,
    parts_of,
    post,
    processing,
    submit,
    task_of,
)

Auth = Callable[..., dict[str, str]]
Sample = Callable[..., str]
_KEY = {"Idempotency-Key": "once"}


def _die_before_the_reply(settings: Settings, headers: dict[str, str]) -> None:
    """Post a task in a process that is killed once the row is committed."""
    services.facts_of = lambda _: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment,return-value] # it ends
    client = create_app(settings).test_client()
    for _ in range(20):  # a starved machine may answer 503
        post(client, headers, **_KEY)


def test_request_repeated_after_a_crash_gives_the_same_task(
    settings: Settings, auth: Auth, database: Database
) -> None:
    crash = multiprocessing.get_context("spawn").Process(
        target=_die_before_the_reply, args=(settings, auth())
    )
    crash.start()
    crash.join(100)
    assert crash.exitcode == -signal.SIGKILL
    [(stored,)] = database.execute("SELECT id FROM tasks")
    answer = post(create_app(settings).test_client(), auth(), **_KEY)
    assert (answer.status_code, answer.get_json()["task_id"]) == (202, str(stored))
    assert database.execute("SELECT count(*) FROM tasks") == [(1,)]


def test_request_repeated_after_a_cut_connection_gives_the_same_task(
    app: Flask, client: FlaskClient, auth: Auth, database: Database
) -> None:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    body = b'{"url": "http://example.com/race.mp4"}'
    head = f"POST /tasks HTTP/1.1\r\nHost: x\r\nAuthorization: {auth()['Authorization']}\r\n"
    head += "Idempotency-Key: once\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with serving(server):
        with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
            # So that closing sends RST and not FIN.
            linger = (1).to_bytes(4, "little") + bytes(4)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.sendall(head.encode() + body)
        wait_until(lambda: database.execute("SELECT 1 FROM tasks"))
    [(stored,)] = database.execute("SELECT id FROM tasks")
    assert post(client, auth(), **_KEY).get_json()["task_id"] == str(stored)


def test_clip_of_a_worker_that_died_after_publishing_is_replaced(
    settings: Settings,
    at_once: Settings,
    runtime: Runtime,
    site: str,
    sample: Sample,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task_id = submit(f"{site}/{sample(2)}")
    assert fetch_next(settings, runtime)

    def die(*_: object) -> bool:
        raise SystemExit  # ends the attempt without any write, as SIGKILL does

    with monkeypatch.context() as crash:
        crash.setattr(leases, "finish_part", die)
        with pytest.raises(SystemExit):
            render_next(settings, runtime)
    assert "0.1.mp4" in files(settings, task_id)
    expire_leases()
    sweep.reclaim_leases(at_once, SweepClock())
    expire_leases()
    assert render_next(settings, runtime)
    assert [(part.status, part.attempt) for part in parts_of(task_id)] == [("done", 2)]
    assert task_of(task_id).status == "done"
    sweep.remove_files(settings)
    assert files(settings, task_id) == {"0.2.mp4", "0.2.jpg"}


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("shift_s", [-600, 600])
def test_leases_follow_the_databases_clock(monkeypatch: pytest.MonkeyPatch, shift_s: float) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + shift_s)
    processing(1)
    lease = claim_part()
    assert backlog.expired_leases(12) == []
    assert leases.renew(lease, 30, 10) == "processing"
    expire_leases()
    assert [each.lease for each in backlog.expired_leases(0)] == [lease]
