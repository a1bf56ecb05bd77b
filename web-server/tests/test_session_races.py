"""Calls that end an account's tokens or change its password during calls that need them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from flask.testing import FlaskClient

from idrl_testing.database import Database
from idrl_testing.waiting import wait_until
from web_testing import assert_problem, bearer, log_in, new_key

if TYPE_CHECKING:
    from conftest import AuthActions, Exchange, MakeApp, TasksStandIn
    from werkzeug.test import TestResponse

TASK = "0b8f2f0e-6c1d-4c0a-9f57-3d1c5f6a7b88"
WEBHOOK = "/webhooks/5c1e2f0e-6c1d-4c0a-9f57-3d1c5f6a7b88"
NEW, OTHER = "Another-passw0rd", "0ther-Passw0rd"
SLOW_ADDRESS = "192.0.2.7"
LASTING = [
    ("POST", "/auth/refresh", None),
    ("POST", "/me/keys", {"name": "script"}),
    ("POST", f"/tasks/{TASK}/links", {}),
    ("POST", "/webhooks", {"url": "https://example.com/"}),
    ("PATCH", "/me", {"username": "eve"}),
]
_HOLD = "SELECT pg_advisory_lock(4711)"


@pytest.fixture
def other_process(make_app: MakeApp, tasks: TasksStandIn) -> FlaskClient:
    """Another process of the web app, with a task behind it."""

    def answer(exchange: Exchange) -> None:
        if exchange.path == "/webhooks":
            exchange.respond(201, b"{}", {"Location": WEBHOOK})
        else:
            exchange.respond(200, json.dumps({"parts": []}).encode())

    tasks.answer = answer
    return make_app().test_client()


@pytest.mark.parametrize(("method", "path", "body"), LASTING)
def test_ended_token_gives_nothing_that_lasts(
    other_process: FlaskClient,
    client: FlaskClient,
    headers: dict[str, str],
    method: str,
    path: str,
    body: dict[str, Any] | None,
) -> None:
    """Not even where a process does not know yet that it was ended."""
    assert other_process.get("/tasks", headers=headers).status_code == 200
    assert client.post("/auth/logout", headers=headers).status_code == 204
    answer = other_process.open(path, method=method, json=body, headers=headers)
    assert_problem(answer, 401, "token_invalid")


def test_deleted_key_makes_no_other_key(
    other_process: FlaskClient, client: FlaskClient, headers: dict[str, str]
) -> None:
    document = new_key(client, headers)
    key = bearer(document["key"])
    assert other_process.get("/tasks", headers=key).status_code == 200
    assert client.delete(f"/me/keys/{document['key_id']}", headers=headers).status_code == 204
    answer = other_process.post("/me/keys", json={"name": "script"}, headers=key)
    assert_problem(answer, 401, "token_invalid")


@contextmanager
def paused(database: Database, change: str) -> Iterator[None]:
    """Hold transactions at this change of a row, which they have locked, while the block lasts."""
    table = change.rpartition(" ")[2]
    database.execute(
        "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN coalesce(NEW, OLD); END$$;"
        f" CREATE TRIGGER hold BEFORE {change} FOR EACH ROW EXECUTE FUNCTION hold()"
    )
    try:
        with database.holding(_HOLD):
            yield
    finally:
        database.execute(f"DROP TRIGGER hold ON {table}; DROP FUNCTION hold()")


@pytest.mark.parametrize("by_key", [False, True], ids=["token", "key"])
@pytest.mark.parametrize("made", ["key", "link", "webhook"])
def test_token_or_key_that_is_just_being_ended_makes_nothing_that_lasts(
    other_process: FlaskClient,
    client: FlaskClient,
    headers: dict[str, str],
    database: Database,
    tasks: TasksStandIn,
    made: str,
    *,
    by_key: bool,
) -> None:
    application = client.application
    ending, change, caller = (
        ("POST", "/auth/logout"),
        "UPDATE OF tokens_valid_after ON users",
        headers,
    )
    if by_key:
        document = new_key(client, headers)
        caller = bearer(document["key"])
        ending, change = ("DELETE", f"/me/keys/{document['key_id']}"), "DELETE ON api_keys"
        assert client.get("/me", headers=caller).status_code == 200  # records its first use
    _, path, body = LASTING[["key", "link", "webhook"].index(made) + 1]
    with ThreadPoolExecutor(2) as pool:
        with paused(database, change):
            end = application.test_client().open
            ended = pool.submit(end, ending[1], method=ending[0], headers=headers)
            wait_until(lambda: database.waiting() == 1, 20)
            late = pool.submit(other_process.post, path, json=body, headers=caller)
            wait_until(lambda: late.done() or database.waiting() == 2, 20)
        assert ended.result(30).status_code == 204
        assert_problem(late.result(30), 401, "token_invalid")
    deleted = [seen.target for seen in tasks.seen if seen.method == "DELETE"]
    assert deleted == ([WEBHOOK] if made == "webhook" else [])
    assert database.execute("SELECT name FROM api_keys") == []


@contextmanager
def paused_after_the_password_check(database: Database) -> Iterator[None]:
    """Hold calls of SLOW_ADDRESS when their password was found right, while the block lasts."""
    database.execute(
        "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NEW; END$$;"
        " CREATE TRIGGER hold BEFORE INSERT OR UPDATE ON login_failures FOR EACH ROW"
        f" WHEN (NEW.client = '{SLOW_ADDRESS}' AND NEW.succeeded_at IS NOT NULL)"
        " EXECUTE FUNCTION hold()"
    )
    try:
        with database.holding(_HOLD):
            yield
    finally:
        database.execute("DROP TRIGGER hold ON login_failures; DROP FUNCTION hold()")


@pytest.fixture
def behind_proxy(make_app: MakeApp, auth: AuthActions) -> AuthActions:
    """An account; calls name their address."""
    auth.client = make_app(accel_redirect=True).test_client()
    auth.signup()
    return auth


def beside_a_new_password(
    auth: AuthActions, database: Database, method: str, path: str, body: dict[str, Any]
) -> TestResponse:
    """Return the answer to a call whose password was right before it was changed to NEW."""
    headers = log_in(auth)
    slow = {**headers, "X-Forwarded-For": SLOW_ADDRESS}
    change = {"old_password": auth.password, "password": NEW, "password_2": NEW}
    with ThreadPoolExecutor(1) as pool:
        with paused_after_the_password_check(database):
            client = auth.client.application.test_client()
            call = pool.submit(client.open, path, method=method, json=body, headers=slow)
            wait_until(lambda: database.waiting() == 1, 20)
            assert (
                auth.client.post("/auth/password", json=change, headers=headers).status_code == 200
            )
        return call.result(30)


def assert_gives_no_token_that_lasts(client: FlaskClient, answer: TestResponse) -> None:
    """A log-in may still be answered just before its account changes: its token ends with that."""
    if answer.status_code == 200:
        assert answer.json is not None
        token = bearer(answer.json["token"])
        assert_problem(client.get("/me", headers=token), 401, "token_invalid")
        assert_problem(client.post("/auth/refresh", headers=token), 401, "token_invalid")
    else:
        assert_problem(answer, 401, "bad_credentials")


def test_log_in_with_the_old_password_ends_with_it(
    behind_proxy: AuthActions, database: Database
) -> None:
    body = {"email": "ada@example.com", "password": behind_proxy.password}
    answer = beside_a_new_password(behind_proxy, database, "POST", "/auth/login", body)
    assert_gives_no_token_that_lasts(behind_proxy.client, answer)


def test_old_password_does_not_replace_the_new_one(
    behind_proxy: AuthActions, database: Database
) -> None:
    body = {"old_password": behind_proxy.password, "password": OTHER, "password_2": OTHER}
    answer = beside_a_new_password(behind_proxy, database, "POST", "/auth/password", body)
    assert_problem(answer, 401, "bad_credentials")
    assert behind_proxy.login(password=NEW).status_code == 200


def test_old_password_changes_no_email(behind_proxy: AuthActions, database: Database) -> None:
    body = {"email": "eve@example.com", "password": behind_proxy.password}
    answer = beside_a_new_password(behind_proxy, database, "PATCH", "/me", body)
    assert_problem(answer, 401, "bad_credentials")
    assert behind_proxy.login(password=NEW).status_code == 200


def test_old_password_deletes_no_account(behind_proxy: AuthActions, database: Database) -> None:
    body = {"password": behind_proxy.password}
    answer = beside_a_new_password(behind_proxy, database, "DELETE", "/me", body)
    assert_problem(answer, 401, "bad_credentials")
    assert behind_proxy.login(password=NEW).status_code == 200


def test_log_in_during_the_deletion_of_its_account_leaves_no_row(
    behind_proxy: AuthActions, database: Database, tasks: TasksStandIn
) -> None:
    tasks.answer = lambda exchange: exchange.respond(200, b"[]")
    headers = log_in(behind_proxy)
    body = {"email": "ada@example.com", "password": behind_proxy.password}
    slow = {"X-Forwarded-For": SLOW_ADDRESS}
    application = behind_proxy.client.application
    with ThreadPoolExecutor(2) as pool:
        with paused_after_the_password_check(database):
            post = application.test_client().post
            logging_in = pool.submit(post, "/auth/login", json=body, headers=slow)
            wait_until(lambda: database.waiting() == 1, 20)
            password = {"password": behind_proxy.password}
            delete = application.test_client().delete
            deletion = pool.submit(delete, "/me", json=password, headers=headers)
            wait_until(lambda: deletion.done() or database.waiting() == 2, 20)
        assert deletion.result(30).status_code == 204
        answer = logging_in.result(30)
    assert_gives_no_token_that_lasts(behind_proxy.client, answer)
    assert database.execute("SELECT * FROM login_failures") == []
