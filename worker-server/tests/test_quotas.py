"""An account has no more live tasks and no more bytes of clips than it may have."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask

from idrl_testing.database import Database
from worker_server.app import create_app
from worker_server.settings import Settings
from worker_testing import post, problem

Auth = Callable[..., dict[str, str]]


@pytest.fixture
def limited(settings: Settings) -> Flask:
    """The tasks service with three live tasks and 1,000 bytes for each account."""
    return create_app(settings.model_copy(update={"quota_live_tasks": 3, "quota_bytes": 1000}))


def test_fourth_live_task_is_refused_until_one_has_ended(
    limited: Flask, auth: Auth, database: Database
) -> None:
    client = limited.test_client()
    accepted = [post(client, auth()).get_json()["task_id"] for _ in range(3)]
    refused = post(client, auth())
    assert problem(refused) == (429, "quota_live_tasks")
    assert refused.headers["RateLimit-Policy"] == '"live-tasks";q=3'
    assert refused.headers["RateLimit"] == '"live-tasks";r=0'
    assert refused.headers["Retry-After"] == "30"
    assert database.execute("SELECT count(*) FROM tasks") == [(3,)]
    client.delete(f"/tasks/{accepted[0]}", headers=auth())
    assert post(client, auth()).status_code == 202


def test_repeated_request_is_not_refused(limited: Flask, auth: Auth) -> None:
    client = limited.test_client()
    first, *_ = [post(client, auth(), **{"Idempotency-Key": str(number)}) for number in range(3)]
    again = post(client, auth(), **{"Idempotency-Key": "0"})
    assert again.get_json()["task_id"] == first.get_json()["task_id"]


def test_parallel_requests_do_not_exceed_the_quota(
    limited: Flask, auth: Auth, database: Database
) -> None:
    def submit(_: int) -> int:
        return post(limited.test_client(), auth()).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(submit, range(24)))
    assert statuses == [202] * 3 + [429] * 21
    assert database.execute("SELECT count(*) FROM tasks") == [(3,)]


def test_full_quota_of_bytes_is_refused(limited: Flask, auth: Auth, database: Database) -> None:
    client = limited.test_client()
    task_id = uuid.UUID(post(client, auth()).get_json()["task_id"])
    database.execute(
        "INSERT INTO parts (task_id, number, owner_id, start_frame, end_frame, start_s, end_s,"
        f" size_bytes) SELECT '{task_id}', 0, owner_id, 0, 1, 0, 1, 1000 FROM tasks"
    )
    assert problem(post(client, auth())) == (403, "quota_bytes")


def test_there_is_no_quota_by_default(settings: Settings, auth: Auth) -> None:
    client = create_app(settings).test_client()
    assert {post(client, auth()).status_code for _ in range(20)} == {202}
