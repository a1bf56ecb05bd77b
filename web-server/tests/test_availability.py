"""What stays available while something else hangs, is busy or is restarted."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from idrl_testing.database import Database
from idrl_testing.processes import child_pids, is_alive
from idrl_testing.waiting import LIMIT_S, wait_until
from web_server.db import CHECKOUT_S, ENGINE_OPTIONS
from web_server.settings import Settings

if TYPE_CHECKING:
    from conftest import Exchange, Served, TasksStandIn

PASSWORD = "Passw0rd-of-a-test"
THREADS = 32


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Let the tasks service take its time: these tests say themselves when it answers."""
    return settings.model_copy(update={"tasks_timeout_s": LIMIT_S})


def signup(served: Served, name: str) -> requests.Response:
    body = {
        "username": name,
        "email": f"{name}@example.com",
        "password": PASSWORD,
        "password_2": PASSWORD,
    }
    return requests.post(f"{served.url}/auth/signup", json=body, timeout=LIMIT_S)


def login(served: Served, name: str) -> requests.Response:
    body = {"email": f"{name}@example.com", "password": PASSWORD}
    return requests.post(f"{served.url}/auth/login", json=body, timeout=LIMIT_S)


def bearer(served: Served) -> dict[str, str]:
    signup(served, "ada")
    return {"Authorization": f"Bearer {login(served, 'ada').json()['token']}"}


def get(url: str, headers: dict[str, str] | None = None) -> None:
    """Make a GET that has to succeed."""
    assert requests.get(url, headers=headers, timeout=LIMIT_S).status_code == 200


@contextmanager
def frozen(database: Database) -> Iterator[None]:
    """Stop PostgreSQL's processes; the kernel still accepts connections and data."""
    ((folder,),) = database.execute("SHOW data_directory")
    postmaster = int((Path(str(folder)) / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGSTOP)
    processes = [postmaster, *child_pids(postmaster)]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            with suppress(ProcessLookupError):  # had ended, and the postmaster has noticed by now
                os.kill(process, signal.SIGCONT)


@pytest.mark.slow
def test_frozen_database_bounds_every_wait_and_leaves_health_alone(
    served: Served, database: Database
) -> None:
    bearer(served)
    with ThreadPoolExecutor(12) as pool, frozen(database):
        calls = [pool.submit(login, served, "ada") for _ in range(12)]
        for _ in range(5):
            get(f"{served.url}/health")
        ready = requests.get(f"{served.url}/ready", timeout=LIMIT_S)
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        for call in calls:
            answer = call.result()  # while the database is still frozen
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    wait_until(lambda: login(served, "ada").status_code == 200)


def test_waits_for_the_database_end_before_nginx_gives_up(settings: Settings) -> None:
    """One after the other: for a place in the pool, to connect, and for the answer."""
    connect_s = float(str(settings.database_url.query["connect_timeout"]))
    template = Path(__file__).parents[1] / "nginx" / "nginx.conf.template"
    (nginx_s,) = re.findall(r"(?m)^    proxy_read_timeout (\d+)s;", template.read_text())
    assert float(str(ENGINE_OPTIONS["pool_timeout"])) + connect_s + CHECKOUT_S <= float(nginx_s)


def test_health_answers_while_every_thread_waits_for_the_tasks_service(
    served: Served, tasks: TasksStandIn
) -> None:
    headers, release = bearer(served), threading.Event()

    def hang(exchange: Exchange) -> None:
        release.wait(LIMIT_S)
        exchange.respond(200, b"[]")

    tasks.answer = hang
    with ThreadPoolExecutor(2 * THREADS) as pool:
        calls = [
            pool.submit(requests.get, f"{served.url}/tasks", headers=headers, timeout=LIMIT_S)
            for _ in range(2 * THREADS)
        ]
        wait_until(lambda: len(tasks.seen) == THREADS)
        for _ in range(5):
            get(f"{served.url}/health")
        assert not any(call.done() for call in calls)
        release.set()
        assert {call.result().status_code for call in calls} == {200}


def test_idle_connections_occupy_no_thread(served: Served) -> None:
    port = int(served.url.rpartition(":")[2])
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(4 * THREADS)]
    get(f"{served.url}/tasks", bearer(served))
    for connection in idle:
        with connection, pytest.raises(BlockingIOError):
            connection.recv(1, socket.MSG_DONTWAIT)  # none had to end for the calls


def test_a_hundred_sign_ups_do_not_stop_other_calls(served: Served) -> None:
    headers = bearer(served)
    with ThreadPoolExecutor(100) as pool:
        calls = [pool.submit(signup, served, f"user{number}") for number in range(100)]
        overtaking = 0
        while not all(call.done() for call in calls):
            get(f"{served.url}/tasks", headers)
            overtaking += 1
        answers = [call.result() for call in calls]
    assert overtaking > 3  # else they waited for the sign-ups
    assert {answer.status_code for answer in answers} <= {201, 503}
    refused = [answer for answer in answers if answer.status_code == 503]
    for answer in refused:
        assert (answer.json()["code"], answer.headers["Retry-After"]) == ("too_busy", "1")


def test_reload_under_load_loses_no_request(served: Served) -> None:
    """HUP replaces the workers; the master keeps the listening socket."""
    headers, stop = bearer(served), threading.Event()
    before = workers(served)
    statuses: list[int] = []

    def call() -> None:
        with requests.Session() as session:
            while not stop.is_set():
                answer = session.get(f"{served.url}/tasks", headers=headers, timeout=LIMIT_S)
                statuses.append(answer.status_code)

    def await_more_answers() -> None:
        enough = len(statuses) + 20
        wait_until(lambda: len(statuses) >= enough)

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call) for _ in range(8)]
        try:
            await_more_answers()
            os.kill(served.pid, signal.SIGHUP)
            wait_until(lambda: workers(served) and not workers(served) & before)
            await_more_answers()
        finally:
            stop.set()
        for each in calls:
            each.result()
    assert set(statuses) == {200}


@pytest.fixture
def _long_graceful_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let gunicorn wait for the connections of a worker that is to stop longer than a test does."""
    monkeypatch.setenv("GUNICORN_CMD_ARGS", f"--graceful-timeout={10 * LIMIT_S:.0f}")


@pytest.mark.usefixtures("_long_graceful_timeout")
def test_worker_leaves_soon_although_connections_are_idle(served: Served) -> None:
    port = int(served.url.rpartition(":")[2])
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
    with requests.Session() as session:
        session.get(f"{served.url}/health", timeout=30)
        before = workers(served)
        os.kill(served.pid, signal.SIGTERM)
        wait_until(lambda: not any(map(is_alive, before)))
    for connection in idle:
        with connection:
            assert connection.recv(1) == b""


def workers(served: Served) -> set[int]:
    """Return the process ids of gunicorn's workers."""
    return child_pids(served.pid)
