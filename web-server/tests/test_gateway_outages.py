"""The gateway's connections to the tasks service: kept, retried, refused and slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from flask.testing import FlaskClient

from idrl_local import servers
from idrl_testing.waiting import LIMIT_S, wait_until
from web_server import tasks_client
from web_testing import assert_problem

if TYPE_CHECKING:
    from conftest import Exchange, MakeApp, ServeTasks, TasksStandIn


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "POST"])
def test_connections_are_kept_open(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str], method: str
) -> None:
    ports = []

    def note(exchange: Exchange) -> None:
        ports.append(exchange.client_address[1])
        exchange.respond(200, b"[]")

    tasks.answer = note
    for _ in range(3):
        assert client.open("/tasks", method=method, headers=headers).status_code == 200
    assert len(ports) == 3
    assert len(set(ports)) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_safe_methods_are_retried_once(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str], method: str
) -> None:
    def hang_up_once(exchange: Exchange) -> None:
        if len(tasks.seen) == 1:
            exchange.hang_up()
        else:
            exchange.respond(200, b"[]")

    tasks.answer = hang_up_once
    assert client.open("/tasks/1", method=method, headers=headers).status_code == 200
    assert len(tasks.seen) == 2


def test_closed_connections_are_502(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str]
) -> None:
    tasks.answer = lambda exchange: exchange.hang_up()
    assert_problem(client.get("/tasks", headers=headers), 502, "tasks_unavailable")
    assert len(tasks.seen) == 2


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_unsafe_methods_are_not_retried(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str], method: str
) -> None:
    tasks.answer = lambda exchange: exchange.hang_up()
    assert_problem(
        client.open("/tasks/1", method=method, headers=headers), 502, "tasks_unavailable"
    )
    assert len(tasks.seen) == 1


def respond_and_close(closed: threading.Event) -> Callable[[Exchange], None]:
    """Answer, then close the connection and set the event; a call before that is sent on it."""

    def answer(exchange: Exchange) -> None:
        exchange.respond(200, b"[]")
        exchange.hang_up()
        closed.set()

    return answer


def test_post_uses_a_new_connection_after_a_restart(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str]
) -> None:
    closed = threading.Event()
    tasks.answer = respond_and_close(closed)
    assert client.get("/tasks", headers=headers).status_code == 200
    assert closed.wait(LIMIT_S)
    assert client.post("/tasks", json={}, headers=headers).status_code == 200


def test_unreachable_tasks_service_is_502(make_app: MakeApp, headers: dict[str, str]) -> None:
    unavailable = make_app(tasks_url=f"http://127.0.0.1:{servers.free_port()}").test_client()
    assert_problem(unavailable.get("/tasks", headers=headers), 502, "tasks_unavailable")
    assert_problem(unavailable.post("/tasks", json={}, headers=headers), 502, "tasks_unavailable")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_calls_wait_for_a_tasks_service_that_restarts(
    make_app: MakeApp,
    headers: dict[str, str],
    serve_tasks: ServeTasks,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    monkeypatch.setattr(tasks_client, "_RESTART_S", LIMIT_S)
    closed = threading.Event()
    with serve_tasks() as first:
        first.answer = respond_and_close(closed)
        app = make_app(tasks_url=first.url, tasks_timeout_s=2 * LIMIT_S)
        assert app.test_client().get("/tasks", headers=headers).status_code == 200
        assert closed.wait(LIMIT_S)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(app.test_client().open, "/tasks", method=method, headers=headers)
        time.sleep(0.5)
        assert not call.done()
        with serve_tasks(first.server_port) as second:
            assert call.result(LIMIT_S).status_code == 200
            assert [seen.method for seen in second.seen] == [method]


def test_calls_do_not_wait_for_a_tasks_service_that_is_unavailable(
    make_app: MakeApp,
    headers: dict[str, str],
    serve_tasks: ServeTasks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks_client, "_RESTART_S", 0.5)
    closed = threading.Event()
    with serve_tasks() as tasks:
        tasks.answer = respond_and_close(closed)
        client = make_app(tasks_url=tasks.url).test_client()
        assert client.get("/tasks", headers=headers).status_code == 200
        assert closed.wait(LIMIT_S)
    for _ in range(2):
        assert_problem(client.post("/tasks", json={}, headers=headers), 502, "tasks_unavailable")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_slow_tasks_service_is_504(
    make_app: MakeApp, tasks: TasksStandIn, headers: dict[str, str], method: str
) -> None:
    release = threading.Event()
    tasks.answer = lambda _: (release.wait(LIMIT_S), None)[1]
    try:
        answer = (
            make_app(tasks_timeout_s=0.2)
            .test_client()
            .open("/tasks", method=method, headers=headers)
        )
    finally:
        release.set()
    assert_problem(answer, 504, "tasks_timeout")
    wait_until(lambda: tasks.seen)  # the stand-in may take the call later than it is given up
    assert len(tasks.seen) == 1
