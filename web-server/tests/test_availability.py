"""What stays available while something else hangs, is busy or is restarted."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from idrl_testing.database import Database

if TYPE_CHECKING:
    from conftest import Exchange, Served, TasksStandIn

PASSWORD = "Passw0rd-of-a-test"
THREADS = 32


def signup(served: Served, name: str) -> requests.Response:
    body = {
        "username": name,
        "email": f"{name}@example.com",
        "password": PASSWORD,
        "password_2": PASSWORD,
    }
    return requests.post(f"{served.url}/auth/signup", json=body, timeout=60)


def login(served: Served, name: str) -> requests.Response:
    body = {"email": f"{name}@example.com", "password": PASSWORD}
    return requests.post(f"{served.url}/auth/login", json=body, timeout=60)


def bearer(served: Served) -> dict[str, str]:
    signup(served, "ada")
    return {"Authorization": f"Bearer {login(served, 'ada').json()['token']}"}


def seconds_of(url: str, headers: dict[str, str] | None = None) -> float:
    """Return how long a successful GET takes."""
    started_s = time.monotonic()
    assert requests.get(url, headers=headers, timeout=30).status_code == 200
    return time.monotonic() - started_s


@contextmanager
def frozen(database: Database) -> Iterator[None]:
    """Stop PostgreSQL's processes; the kernel still accepts connections and data."""
    ((folder,),) = database.execute("SHOW data_directory")
    postmaster = int((Path(str(folder)) / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGSTOP)
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    processes = [postmaster, *map(int, children)]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


@pytest.mark.slow
def test_frozen_database_bounds_every_wait_and_leaves_health_alone(
    served: Served, database: Database
) -> None:
    bearer(served)
    with ThreadPoolExecutor(12) as pool:

        def timed_login(_: int) -> tuple[int, str, float]:
            started_s = time.monotonic()
            answer = login(served, "ada")
            return answer.status_code, answer.json()["code"], time.monotonic() - started_s

        with frozen(database):
            answers = pool.map(timed_login, range(12))
            assert all(seconds_of(f"{served.url}/health") < 2 for _ in range(5))
            ready = requests.get(f"{served.url}/ready", timeout=10)
            assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
            for status, code, elapsed_s in answers:
                assert (status, code) == (503, "database_unavailable")
                assert elapsed_s < 15
    deadline = time.monotonic() + 20
    while login(served, "ada").status_code != 200:
        assert time.monotonic() < deadline


def test_health_answers_while_every_thread_waits_for_the_tasks_service(
    served: Served, tasks: TasksStandIn
) -> None:
    headers, release = bearer(served), threading.Event()

    def hang(exchange: Exchange) -> None:
        release.wait(30)
        exchange.respond(200, b"[]")

    tasks.answer = hang
    with ThreadPoolExecutor(2 * THREADS) as pool:
        calls = [
            pool.submit(requests.get, f"{served.url}/tasks", headers=headers, timeout=60)
            for _ in range(2 * THREADS)
        ]
        while len(tasks.seen) < THREADS:
            time.sleep(0.01)
        assert all(seconds_of(f"{served.url}/health") < 2 for _ in range(5))
        release.set()
        assert {call.result().status_code for call in calls} == {200}


def test_idle_connections_occupy_no_thread(served: Served) -> None:
    port = int(served.url.rpartition(":")[2])
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(4 * THREADS)]
    headers = bearer(served)
    assert seconds_of(f"{served.url}/tasks", headers) < 3
    for connection in idle:
        connection.close()


def test_a_hundred_sign_ups_do_not_stop_other_calls(served: Served) -> None:
    headers = bearer(served)
    with ThreadPoolExecutor(100) as pool:
        calls = [pool.submit(signup, served, f"user{number}") for number in range(100)]
        while not all(call.done() for call in calls):
            assert seconds_of(f"{served.url}/tasks", headers) < 3
        answers = [call.result() for call in calls]
    assert {answer.status_code for answer in answers} <= {201, 503}
    refused = [answer for answer in answers if answer.status_code == 503]
    for answer in refused:
        assert (answer.json()["code"], answer.headers["Retry-After"]) == ("too_busy", "1")


def test_reload_under_load_loses_no_request(served: Served) -> None:
    """HUP replaces the workers; the master keeps the listening socket."""
    headers, stop = bearer(served), threading.Event()
    before = workers(served)

    def call() -> list[int]:
        statuses = []
        with requests.Session() as session:
            while not stop.is_set():
                answer = session.get(f"{served.url}/tasks", headers=headers, timeout=30)
                statuses.append(answer.status_code)
        return statuses

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call) for _ in range(8)]
        time.sleep(0.5)
        os.kill(served.pid, signal.SIGHUP)
        deadline = time.monotonic() + 40
        while workers(served) & before or not workers(served):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)
        stop.set()
        statuses = [status for each in calls for status in each.result()]
    assert set(statuses) == {200}


def test_worker_leaves_soon_although_connections_are_idle(served: Served) -> None:
    port = int(served.url.rpartition(":")[2])
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
    with requests.Session() as session:
        session.get(f"{served.url}/health", timeout=30)
        before, started_s = workers(served), time.monotonic()
        os.kill(served.pid, signal.SIGTERM)
        while any(Path(f"/proc/{pid}").exists() for pid in before):
            assert time.monotonic() - started_s < 8
            time.sleep(0.05)
    for connection in idle:
        with connection:
            assert connection.recv(1) == b""


def workers(served: Served) -> set[int]:
    """Return the process ids of gunicorn's workers."""
    children = Path(f"/proc/{served.pid}/task/{served.pid}/children").read_text()
    return set(map(int, children.split()))
