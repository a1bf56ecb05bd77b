"""What owners see and change of their accounts, and what deletion leaves."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import HttpUrl

from idrl_testing.database import Database
from idrl_testing.waiting import LIMIT_S
from web_server import account_removal, accounts
from web_testing import assert_problem, bearer, new_key

if TYPE_CHECKING:
    from conftest import AuthActions, Exchange, MakeApp, TasksStandIn
_SECRET = "/webhooks/callback-secret"  # a path


def test_me(client: FlaskClient, headers: dict[str, str]) -> None:
    answer = client.get("/me", headers=headers)
    assert answer.json is not None
    document = dict(answer.json)
    assert document.pop("created_at").endswith("Z")
    assert document == {
        "user_id": 1,
        "username": "ada",
        "email": "ada@example.com",
        "role": "user",
        "sample_url": None,
    }


def test_sample_of_the_operator_is_named_to_users(
    make_app: MakeApp, headers: dict[str, str]
) -> None:
    url = "https://videos.example.com/sample.mp4"
    answer = make_app(sample_url=HttpUrl(url)).test_client().get("/me", headers=headers)
    assert answer.json is not None
    assert answer.json["sample_url"] == url


def test_profile_changes(client: FlaskClient, auth: AuthActions, headers: dict[str, str]) -> None:
    answer = client.patch("/me", json={"username": "Ada L"}, headers=headers)
    assert answer.json is not None
    assert (answer.json["username"], answer.json["email"]) == ("Ada L", "ada@example.com")
    body = {"email": "lovelace@example.com", "password": auth.password}
    answer = client.patch("/me", json=body, headers=headers)
    assert answer.json is not None
    assert (answer.json["username"], answer.json["email"]) == ("Ada L", "lovelace@example.com")
    assert_problem(auth.login(), 401, "bad_credentials")
    assert auth.login("LOVELACE@example.com").status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"email": "x@example.com"}, 400, "invalid_body"),
        ({"email": "x@example.com", "password": "Wrong-passw0rd"}, 401, "bad_credentials"),
        ({"username": "BOB"}, 409, "username_taken"),
        ({"email": "Bob@Example.com", "password": "Passw0rd-of-a-test"}, 409, "email_taken"),
        ({"username": "a\u0000"}, 400, "invalid_body"),
        ({"role": "operator"}, 400, "invalid_body"),
    ],
)
def test_profile_change_is_refused(
    client: FlaskClient,
    auth: AuthActions,
    headers: dict[str, str],
    body: dict[str, str],
    status: int,
    code: str,
) -> None:
    auth.signup("bob", "bob@example.com")
    before = client.get("/me", headers=headers).json
    assert_problem(client.patch("/me", json=body, headers=headers), status, code)
    assert client.get("/me", headers=headers).json == before


def test_deleted_account_leaves_nothing(
    client: FlaskClient,
    auth: AuthActions,
    headers: dict[str, str],
    tasks: TasksStandIn,
    database: Database,
) -> None:
    key = new_key(client, headers)["key"]
    ids = {"X-Request-Id": "caller-chose-this", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    # How many DELETEs it takes until each is gone.
    kinds = ("tasks", "tasks", "uploads", "brands", "batches")
    first, *others = (f"/{kind}/{uuid.uuid4()}" for kind in kinds)
    live = {first: 2} | dict.fromkeys(others, 1)
    left = dict(live)

    def answer(exchange: Exchange) -> None:
        if exchange.command == "GET":
            kind = exchange.path.partition("?")[0]
            links = [link for link in left if link.startswith(kind)]
            body = [{"task_id": link.rpartition("/")[2], "link": link} for link in links]
            return exchange.respond(200, json.dumps(body).encode())
        if exchange.command == "PUT":
            return exchange.respond(200, b"{}")
        if exchange.path == _SECRET:
            return exchange.respond(204, b"")
        left[exchange.path] -= 1
        if not left[exchange.path]:
            del left[exchange.path]
        return exchange.respond(200, b"{}")

    tasks.answer = answer
    auth.login(password="Wrong-passw0rd")
    database.execute("INSERT INTO usage_days (owner_id, day) VALUES (1, now()), (2, now())")
    result = client.delete("/me", json={"password": auth.password}, headers={**headers, **ids})
    assert (result.status_code, result.data) == (204, b"")
    assert all(seen.headers.items() >= ids.items() for seen in tasks.seen)
    deletes = [seen.target for seen in tasks.seen if seen.method == "DELETE"]
    assert deletes.count(_SECRET) == 1
    deletes = [target for target in deletes if target != _SECRET]
    puts = [(seen.target, seen.body) for seen in tasks.seen if seen.method == "PUT"]
    assert set(puts) == {("/brands/default", b'{"brand_id": null}')}
    assert sorted(deletes) == sorted(link for link, times in live.items() for _ in range(times))
    for token in (headers, bearer(key)):
        assert_problem(client.get("/tasks", headers=token), 401, "token_invalid")
    assert_problem(auth.login(), 401, "bad_credentials")
    database.execute("DELETE FROM login_failures WHERE succeeded_at IS NULL")  # the log-in above
    for table in ("users", "api_keys", "login_failures", "invitations"):
        assert database.execute(f"SELECT * FROM {table}") == [], table
    assert database.execute("SELECT owner_id FROM usage_days") == [(2,)]


def test_tasks_of_a_batch_are_not_deleted_one_by_one(
    client: FlaskClient, auth: AuthActions, headers: dict[str, str], tasks: TasksStandIn
) -> None:
    batch = f"/batches/{uuid.uuid4()}"
    alone, *of_batch = (f"/tasks/{uuid.uuid4()}" for _ in range(501))
    left = [batch, alone, *of_batch]
    aborted: list[bool] = []

    def answer(exchange: Exchange) -> None:
        kind = exchange.path.partition("?")[0]
        listed = [
            {"task_id": link.rpartition("/")[2], "link": link}
            for link in left
            if link.startswith(kind)
        ]
        if exchange.command == "DELETE" and exchange.path == batch and not aborted:
            aborted.append(True)
        elif exchange.command == "DELETE":
            gone = [batch, *of_batch] if exchange.path == batch else [exchange.path]
            left[:] = [link for link in left if link not in gone]
        exchange.respond(200, json.dumps(listed).encode())

    tasks.answer = answer
    result = client.delete("/me", json={"password": auth.password}, headers=headers)
    assert result.status_code == 204
    deleted = [seen.target for seen in tasks.seen if seen.method == "DELETE"]
    assert deleted == [batch, batch, alone, _SECRET]


def test_task_of_a_call_that_is_still_under_way_goes_with_the_account(
    client: FlaskClient,
    auth: AuthActions,
    headers: dict[str, str],
    tasks: TasksStandIn,
    database: Database,
) -> None:
    """Its row is inserted when the account has no tasks any more."""
    task_id = uuid.uuid4()
    inserted: list[bool] = []

    def answer(exchange: Exchange) -> None:
        rows: list[dict[str, str]] = []
        if exchange.command == "DELETE" and exchange.path == f"/tasks/{task_id}":
            database.execute(f"DELETE FROM tasks WHERE id = '{task_id}'")
        elif exchange.command == "GET" and exchange.path.startswith("/tasks"):
            task_rows = database.execute("SELECT id FROM tasks WHERE owner_id = 1")
            rows = [{"link": f"/tasks/{found_id}"} for (found_id,) in task_rows]
        elif exchange.command == "GET" and exchange.path == "/webhooks" and not inserted:
            inserted.append(True)
            database.execute(f"INSERT INTO tasks (id, owner_id, url) VALUES ('{task_id}', 1, '')")
        exchange.respond(200, json.dumps(rows).encode())

    tasks.answer = answer
    result = client.delete("/me", json={"password": auth.password}, headers=headers)
    assert result.status_code == 204
    assert inserted
    for table in ("tasks", "users"):
        assert database.execute(f"SELECT * FROM {table}") == [], table


def test_scripts_with_a_key_add_nothing_while_the_account_is_deleted(
    client: FlaskClient,
    auth: AuthActions,
    headers: dict[str, str],
    tasks: TasksStandIn,
) -> None:
    """A script that goes on posting would else keep the account for ever."""
    key = bearer(new_key(client, headers)["key"])
    statuses: list[int] = []

    def answer(exchange: Exchange) -> None:
        if exchange.command == "DELETE":  # of the secret: the deletion is under way
            posted = client.post("/tasks", json={"url": "https://example.com/a"}, headers=key)
            statuses.append(posted.status_code)
        exchange.respond(200, b"[]")

    tasks.answer = answer
    assert client.get("/tasks", headers=key).status_code == 200
    result = client.delete("/me", json={"password": auth.password}, headers=headers)
    assert result.status_code == 204
    assert statuses == [401]


def test_account_stays_while_something_of_it_cannot_be_removed(
    client: FlaskClient,
    auth: AuthActions,
    headers: dict[str, str],
    tasks: TasksStandIn,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(account_removal, "_REMOVAL_S", 0.3)
    database.execute("INSERT INTO tasks (id, owner_id, url) VALUES (gen_random_uuid(), 1, '')")
    tasks.answer = lambda exchange: exchange.respond(200, b"[]")
    answer = client.delete("/me", json={"password": auth.password}, headers=headers)
    assert_problem(answer, 503, "tasks_still_running")
    assert auth.login().status_code == 200


def test_deletion_needs_the_password(
    client: FlaskClient, headers: dict[str, str], database: Database, tasks: TasksStandIn
) -> None:
    answer = client.delete("/me", json={"password": "Wrong-passw0rd"}, headers=headers)
    assert_problem(answer, 401, "bad_credentials")
    assert database.execute("SELECT count(*) FROM users") == [(1,)]
    assert tasks.seen == []


def hang_up_in_the_answer(exchange: Exchange) -> None:
    exchange.respond(200, b"[", {"Content-Length": "100"})
    exchange.hang_up()


@pytest.mark.parametrize(
    "hang_up", [lambda exchange: exchange.hang_up(), hang_up_in_the_answer], ids=["before", "in it"]
)
def test_deletion_with_the_tasks_service_unavailable_keeps_the_account(
    client: FlaskClient,
    auth: AuthActions,
    headers: dict[str, str],
    tasks: TasksStandIn,
    database: Database,
    hang_up: Callable[[Exchange], None],
) -> None:
    tasks.answer = hang_up
    answer = client.delete("/me", json={"password": auth.password}, headers=headers)
    assert_problem(answer, 502, "tasks_unavailable")
    assert database.execute("SELECT count(*) FROM users") == [(1,)]
    assert auth.login().status_code == 200


def test_parallel_deletions_of_an_account_occupy_one_thread(
    app: Flask,
    client: FlaskClient,
    auth: AuthActions,
    headers: dict[str, str],
    tasks: TasksStandIn,
) -> None:
    called, go_on = threading.Event(), threading.Event()

    def answer(exchange: Exchange) -> None:
        called.set()
        go_on.wait(LIMIT_S)
        exchange.respond(200, b"[]")

    tasks.answer = answer
    body = {"password": auth.password}
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.delete, "/me", json=body, headers=headers)
        try:
            assert called.wait(LIMIT_S)
            # The token has ended; a call that was let in before is refused all the same.
            with app.app_context(), pytest.raises(account_removal.TasksStillRunning):
                account_removal.remove(accounts.get_user(1), None, None, None)  # type: ignore[arg-type] # not used
        finally:
            go_on.set()
        assert first.result(LIMIT_S).status_code == 204
