"""The documents of a task with as many parts as there may be, for many callers at once."""

import re
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from idrl_testing.database import Database
from worker_server.api import long_documents
from worker_server.limits import MAX_PARTS
from worker_testing import post, problem

Auth = Callable[..., dict[str, str]]
THREADS = 16  # of the container `tasks`, whose limit is 640 MB; the service itself takes 120
LIMIT_MB = 500


@pytest.fixture
def task_id(database: Database) -> str:
    """A failed task of 20,000 finished parts, which its caller has started."""
    task_id = str(uuid.uuid4())
    database.execute(
        "INSERT INTO tasks (id, owner_id, url, status, finished_at, start_requested_at)"
        f" VALUES ('{task_id}', 1, 'http://example.com/v.mp4', 'failed', now(), now())"
    )
    database.execute(
        "INSERT INTO parts (task_id, owner_id, number, start_frame, end_frame, start_s, end_s,"
        " status, path, size_bytes, sha256, frames, rendered_by)"
        f" SELECT '{task_id}', 1, n, n, n + 1, n, n + 1, 'done', 'x/' || n, 1000,"
        f" repeat('a', 64), 50, 'copy' FROM generate_series(0, {MAX_PARTS - 1}) n"
    )
    return task_id


def memory_mb(name: str) -> float:
    """Return VmRSS, what this process takes, or VmHWM, the most that it took."""
    match = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match
    return int(match[1]) / 1000


@pytest.mark.parametrize("path", ["", "/manifest.json"])
def test_documents_for_all_threads_fit_into_the_memory(
    app: Flask, auth: Auth, task_id: str, path: str
) -> None:
    def get(_: int) -> tuple[int, bool]:
        answer = app.test_client().get(f"/tasks/{task_id}{path}", headers=auth())
        return answer.status_code, f'"number":{MAX_PARTS - 1},' in answer.text[-2000:]

    assert get(0) == (200, True)
    Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM to VmRSS
    before_mb = memory_mb("VmRSS")
    with ThreadPoolExecutor(THREADS) as pool:
        answers = set(pool.map(get, range(THREADS)))
    # 503: too busy, on a slow machine
    assert (200, True) in answers <= {(200, True), (429, False), (503, False)}
    assert memory_mb("VmHWM") - before_mb < LIMIT_MB


def test_batches_of_all_threads_fit_into_the_memory(app: Flask, auth: Auth) -> None:
    """Sixteen took 1760 MB: only parsing was one at a time, not the checks of the items."""
    objects = ",".join(["{}"] * 1_300_000)
    body = f'{{"items": [{{"metadata": {{"a": [{objects}]}}}}]}}'.encode()
    headers = {**auth(), "Content-Type": "application/json"}

    def send(_: int) -> tuple[int, str]:
        return problem(app.test_client().post("/batches", data=body, headers=headers))

    assert send(0) == (400, "invalid_batch")
    Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM to VmRSS
    before_mb = memory_mb("VmRSS")
    with ThreadPoolExecutor(THREADS) as pool:
        answers = set(pool.map(send, range(THREADS)))
    refusals = {(429, "too_many_requests"), (503, "too_busy")}
    assert (400, "invalid_batch") in answers <= {(400, "invalid_batch"), *refusals}
    assert memory_mb("VmHWM") - before_mb < LIMIT_MB


def test_changes_of_long_tasks_wait_for_memory_before_they_are_made(
    client: FlaskClient,
    auth: Auth,
    task_id: str,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their answers are such documents too: 16 of different tasks took 576 MB."""
    link, memory = f"/tasks/{task_id}", threading.BoundedSemaphore()
    monkeypatch.setattr(long_documents, "_memory", memory)
    monkeypatch.setattr(long_documents, "_WAIT_S", 0.1)
    calls = [
        partial(client.patch, link, json={"name": "Talk"}, headers=auth()),
        partial(client.post, f"{link}/start", headers=auth()),
        partial(client.post, f"{link}/retry", headers=auth()),
    ]
    before = database.execute("SELECT xmin FROM tasks")
    with memory:
        for call in calls:
            assert problem(call()) == (503, "too_busy")
        assert database.execute("SELECT xmin FROM tasks") == before
    assert [call().status_code for call in calls] == [200, 202, 202]


@pytest.fixture
def all_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every document counts as a long one."""
    monkeypatch.setattr(long_documents, "_LONG", 0)
    monkeypatch.setattr(long_documents, "_LONG_PARTS", -1)


@pytest.mark.usefixtures("all_are_long", "no_wakeups")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/manifest.json"),
        ("GET", "/clips.zip"),
        ("PATCH", ""),
        ("POST", "/start"),
        ("POST", "/retry"),
    ],
)
def test_account_that_waits_for_long_documents_leaves_threads_to_others(
    client: FlaskClient, auth: Auth, database: Database, method: str, path: str
) -> None:
    """Its next call is refused before the query, which takes long too."""
    link, link_of_other = (post(client, auth(user)).get_json()["link"] for user in (1, 2))
    assert client.get(link, headers=auth()).status_code == 200
    database.execute("DELETE FROM tasks WHERE owner_id = 1")

    def call() -> tuple[int, str]:
        body: dict[str, str] | None = None if method == "GET" else {}
        return problem(client.open(link + path, method=method, headers=auth(), json=body))

    with ExitStack() as waiting:
        for _ in range(4):
            waiting.enter_context(long_documents._calls.slot(1))
        assert call() == (429, "too_many_requests")
        assert client.get(link_of_other, headers=auth(2)).status_code == 200
    assert call() == (404, "task_not_found")
