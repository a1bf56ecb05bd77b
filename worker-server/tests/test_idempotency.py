"""One `Idempotency-Key` makes one task, however often it is sent."""

import pickle
import subprocess
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from flask.testing import FlaskClient

from idrl_testing.database import Database
from worker_server.settings import Settings
from worker_testing import URL, post, problem

# The task is stored, and the process ends before anything else, the answer included.
DIES_AFTER_COMMIT = """
import os, pickle, sys
from worker_server.api import services
from worker_server.app import create_app
settings, body, headers = pickle.load(sys.stdin.buffer)
services.wakeups.send_later = lambda *_: os._exit(9)
create_app(settings).test_client().post("/tasks", json=body, headers=headers)
"""
Auth = Callable[..., dict[str, str]]


def test_the_same_key_gives_the_same_task(client: FlaskClient, auth: Auth) -> None:
    key = {"Idempotency-Key": "k" * 255}
    first = post(client, auth(), **key)
    again = post(client, auth(), **key)
    assert (again.status_code, again.get_json()["task_id"]) == (202, first.get_json()["task_id"])
    assert problem(post(client, auth(), URL + "?other", **key)) == (422, "idempotency_key_reused")
    assert post(client, auth(2), **key).get_json()["task_id"] != first.get_json()["task_id"]


def test_repeated_request_is_answered_whatever_has_changed_since(
    client: FlaskClient, auth: Auth, database: Database
) -> None:
    key = {**auth(), "Idempotency-Key": "once"}
    brand = uuid.uuid4()
    database.execute(
        "INSERT INTO brands (id, owner_id, name, spec, files, size_bytes)"
        f" VALUES ('{brand}', 1, 'b', '{{}}', '{{}}', 0)"
    )
    source: dict[str, object] = {"url": URL, "edit": {"brand_id": str(brand)}}
    requests: list[tuple[str, dict[str, object], str]] = [
        ("/tasks", source, "task_id"),
        ("/batches", {"items": [source]}, "batch_id"),
    ]
    first = [client.post(path, json=body, headers=key).get_json() for path, body, _ in requests]
    database.execute("UPDATE brands SET deleted_at = now()")
    for (path, body, name), known in zip(requests, first, strict=True):
        again = client.post(path, json=body, headers=key)
        assert (again.status_code, again.get_json()[name]) == (202, known[name])
        other = client.post(path, json=body, headers=auth())
        assert problem(other)[0] in (400, 422)
        reused = client.post(path, json={**body, "name": "x"}, headers=key)
        assert problem(reused) == (422, "idempotency_key_reused")


def test_key_expires_after_a_day(client: FlaskClient, auth: Auth, database: Database) -> None:
    key = {"Idempotency-Key": "once"}
    first = post(client, auth(), **key).get_json()["task_id"]
    database.execute("UPDATE tasks SET created_at = created_at - interval '25 hours'")
    assert post(client, auth(), **key).get_json()["task_id"] != first


def test_one_key_ten_times_at_once_makes_one_task(
    app: Flask, auth: Auth, database: Database
) -> None:
    headers = auth()

    def once(_: int) -> str:
        response = post(app.test_client(), headers, **{"Idempotency-Key": "once"})
        assert response.status_code == 202
        task_id: str = response.get_json()["task_id"]
        return task_id

    with ThreadPoolExecutor(10) as pool:
        assert len(set(pool.map(once, range(10)))) == 1
    assert database.execute("SELECT count(*) FROM tasks") == [(1,)]


def test_repeated_call_finds_the_task_of_a_process_that_died_before_its_answer(
    settings: Settings, client: FlaskClient, auth: Auth, database: Database
) -> None:
    headers = {**auth(), "Idempotency-Key": "once"}
    call = pickle.dumps((settings, {"url": URL}, headers))
    died = subprocess.run(
        [sys.executable, "-c", DIES_AFTER_COMMIT], input=call, check=False, timeout=60
    )
    assert died.returncode == 9
    [(stored,)] = database.execute("SELECT id::text FROM tasks")
    again = client.post("/tasks", json={"url": URL}, headers=headers)
    assert (again.status_code, again.get_json()["task_id"]) == (202, stored)
    assert database.execute("SELECT count(*) FROM tasks") == [(1,)]


@pytest.mark.parametrize("key", ["", "k" * 256, "caf\u00e9", "a\tb", "a\x7f"])
def test_a_bad_key_is_refused(client: FlaskClient, auth: Auth, key: str) -> None:
    assert problem(post(client, auth(), **{"Idempotency-Key": key})) == (
        400,
        "idempotency_key_invalid",
    )


def test_deleted_tasks_key_makes_a_new_task(app: Flask, auth: Auth) -> None:
    """POST with one key and DELETE of its task, at once and again and again: never a 500."""
    headers = auth()

    def once(n: int) -> int:
        client = app.test_client()
        response = post(client, headers, **{"Idempotency-Key": "once"})
        if n % 2 and response.status_code == 202:
            task_id = response.get_json()["task_id"]
            for _ in range(2):  # abort, then delete
                client.delete(f"/tasks/{task_id}", headers=headers)
        return response.status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(once, range(80))) == {202}
