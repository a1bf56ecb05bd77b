"""GET /tasks?created_after gives every task to a caller who asks since the newest that it knows.

A task that is accepted later may be committed earlier: a batch takes longer than one task.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from upload_testing import Uploads

from idrl_testing.database import Database
from idrl_testing.waiting import wait_until
from worker_testing import post

Auth = Callable[..., dict[str, str]]
START = "2026-01-01T00:00:00Z"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def poll(client: FlaskClient, headers: dict[str, str], since: str) -> dict[str, str]:
    """Return the ids of the tasks created since then, with their times."""
    answer = client.get(f"/tasks?created_after={since}", headers=headers)
    assert answer.status_code == 200
    return {task["task_id"]: task["created_at"] for task in answer.get_json()}


@pytest.mark.parametrize("path", ["/tasks", "/batches"])
def test_a_task_that_is_committed_late_is_given_too(
    app: Flask,
    auth: Auth,
    uploads: Uploads,
    database: Database,
    path: str,
    pool: ThreadPoolExecutor,
) -> None:
    item: dict[str, Any] = {"upload_id": uploads.whole(b"content")}
    body = item if path == "/tasks" else {"items": [item]}
    with database.holding("SELECT FROM uploads FOR UPDATE"):
        slow = pool.submit(lambda: app.test_client().post(path, json=body, headers=auth()))
        wait_until(lambda: database.waiting() == 1)
        fast = post(app.test_client(), auth()).get_json()["task_id"]
        first: Future[dict[str, str]] = pool.submit(lambda: poll(app.test_client(), auth(), START))
        wait_until(lambda: first.done() or database.waiting() == 2)
    accepted = slow.result().get_json()
    late = accepted.get("task_id") or accepted["task_ids"][0]
    known = first.result()
    known |= poll(app.test_client(), auth(), max(known.values()))
    assert set(known) == {fast, late}


def test_a_poll_waits_for_no_other_account(
    app: Flask, auth: Auth, uploads: Uploads, database: Database, pool: ThreadPoolExecutor
) -> None:
    body = {"upload_id": uploads.whole(b"content")}
    client = app.test_client()
    with database.holding("SELECT FROM uploads FOR UPDATE"):
        slow = pool.submit(lambda: app.test_client().post("/tasks", json=body, headers=auth()))
        wait_until(lambda: database.waiting() == 1)
        assert poll(client, auth(2), START) == {}
        assert client.get("/tasks", headers=auth()).get_json() == []
    assert slow.result().status_code == 202


def test_calls_that_add_tasks_do_not_wait_for_each_other(
    app: Flask, auth: Auth, uploads: Uploads, database: Database, pool: ThreadPoolExecutor
) -> None:
    body = {"upload_id": uploads.whole(b"content")}
    with database.holding("SELECT FROM uploads FOR UPDATE"):
        slow = pool.submit(lambda: app.test_client().post("/tasks", json=body, headers=auth()))
        wait_until(lambda: database.waiting() == 1)
        accepted = post(app.test_client(), auth()).get_json()
        assert not slow.done()
    shown = app.test_client().get(accepted["link"], headers=auth()).get_json()
    times = ("created_at", "updated_at")
    assert [shown[name] for name in times] == [accepted[name] for name in times]
    assert shown["created_at"] == shown["updated_at"]
