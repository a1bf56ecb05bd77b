"""Log-ins and the tokens that go back to them: refresh, logout, a new password."""

from __future__ import annotations

import time
import types
from typing import TYPE_CHECKING

import jwt
import pytest
from flask import Flask
from flask.testing import FlaskClient

from web_server import authentication, token_signer
from web_testing import assert_problem, bearer, log_in, new_key

if TYPE_CHECKING:
    from conftest import AuthActions, Keys, MakeApp, TasksStandIn

    from idrl_testing.database import Database

NEW_PASSWORD = "Another-passw0rd"


def test_refresh_gives_a_new_hour_of_the_same_log_in(
    client: FlaskClient, headers: dict[str, str], keys: Keys
) -> None:
    answer = client.post("/auth/refresh", headers=headers)
    assert answer.json is not None
    assert (answer.json["expires_in"], answer.headers["Cache-Control"]) == (3600, "no-store")
    old, new = (
        jwt.decode(token, keys.public, algorithms=["EdDSA"], audience="idrl")
        for token in (headers["Authorization"].split()[1], answer.json["token"])
    )
    assert new["iat"] > old["iat"]
    assert new["auth_time"] == old["auth_time"] == old["iat"]
    assert client.get("/tasks", headers=bearer(answer.json["token"])).status_code == 200


def test_clock_that_was_set_back_after_a_logout(
    client: FlaskClient, auth: AuthActions, database: Database
) -> None:
    """Its account can log in at once, and what was ended stays ended."""
    auth.signup()
    database.execute("UPDATE users SET tokens_valid_after = now() + interval '20 seconds'")
    ended: list[dict[str, str]] = []
    for _ in range(3):
        headers = log_in(auth)
        assert client.get("/me", headers=headers).status_code == 200
        renewed = client.post("/auth/refresh", headers=headers).json
        assert renewed is not None
        assert client.post("/auth/logout", headers=bearer(renewed["token"])).status_code == 204
        ended += [headers, bearer(renewed["token"])]
        for each in ended:
            assert_problem(client.get("/me", headers=each), 401, "token_invalid")


@pytest.mark.parametrize("how", ["logout", "password", "set-role"])
def test_token_of_a_machine_whose_clock_is_ahead_ends_too(
    app: Flask, client: FlaskClient, auth: AuthActions, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    auth.signup()
    with monkeypatch.context() as patched:
        ahead = types.SimpleNamespace(time=lambda: time.time() + 8)
        patched.setattr(token_signer, "time", ahead)
        other = log_in(auth)
    assert client.get("/me", headers=other).status_code == 200
    passwords = {"old_password": auth.password, "password": NEW_PASSWORD}
    if how == "set-role":
        run = app.test_cli_runner().invoke
        assert run(args=["users", "set-role", "ada@example.com", "user"]).exit_code == 0
    else:
        body = {**passwords, "password_2": NEW_PASSWORD} if how == "password" else None
        assert client.post(f"/auth/{how}", json=body, headers=log_in(auth)).status_code < 300
    assert_problem(client.post("/auth/refresh", headers=other), 401, "token_invalid")
    new = log_in(auth, NEW_PASSWORD if how == "password" else None)
    assert client.get("/me", headers=new).status_code == 200


def test_refresh_ends_twelve_hours_after_the_log_in(
    client: FlaskClient, headers: dict[str, str], keys: Keys
) -> None:
    claims = jwt.decode(
        headers["Authorization"].split()[1], keys.public, algorithms=["EdDSA"], audience="idrl"
    )

    def refresh(hours: float) -> int:
        claims["auth_time"] = time.time() - hours * 3600
        token = jwt.encode(claims, keys.private, "EdDSA", headers={"typ": "at+jwt"})
        return client.post("/auth/refresh", headers=bearer(token)).status_code

    assert [refresh(11.9), refresh(12.1)] == [200, 401]


def test_logout_ends_every_token_and_no_later_one(
    client: FlaskClient, auth: AuthActions, headers: dict[str, str], tasks: TasksStandIn
) -> None:
    other = log_in(auth)
    key = bearer(new_key(client, headers)["key"])
    assert client.post("/auth/logout", headers=headers).status_code == 204
    for ended in (headers, other):
        assert_problem(client.get("/tasks", headers=ended), 401, "token_invalid")
    assert tasks.seen == []
    for valid in (log_in(auth), key):
        assert client.get("/tasks", headers=valid).status_code == 200


def test_another_process_notices_within_five_seconds(
    make_app: MakeApp,
    client: FlaskClient,
    headers: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = types.SimpleNamespace(time=time.time, monotonic=lambda: 100.0)
    monkeypatch.setattr(authentication, "time", clock)
    other = make_app().test_client()
    assert other.get("/tasks", headers=headers).status_code == 200
    client.post("/auth/logout", headers=headers)
    clock.monotonic = lambda: 105.0
    assert_problem(other.get("/tasks", headers=headers), 401, "token_invalid")


def test_new_password_ends_other_tokens(
    client: FlaskClient, auth: AuthActions, headers: dict[str, str]
) -> None:
    other = log_in(auth)
    body = {"old_password": auth.password, "password": NEW_PASSWORD, "password_2": NEW_PASSWORD}
    answer = client.post("/auth/password", json=body, headers=headers)
    assert answer.status_code == 200
    assert answer.json is not None
    assert client.get("/tasks", headers=bearer(answer.json["token"])).status_code == 200
    for ended in (headers, other):
        assert_problem(client.get("/tasks", headers=ended), 401, "token_invalid")
    assert_problem(auth.login(), 401, "bad_credentials")
    assert auth.login(password=NEW_PASSWORD).status_code == 200


def test_new_password_needs_the_old_one_and_is_throttled(
    make_app: MakeApp, auth: AuthActions, headers: dict[str, str]
) -> None:
    client = make_app(login_failures_max=3).test_client()
    body = {"old_password": "Wrong-1-word", "password": NEW_PASSWORD, "password_2": NEW_PASSWORD}
    answers = [client.post("/auth/password", json=body, headers=headers) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert auth.client.get("/me", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("changed", "field", "code"),
    [
        ({"password": "short"}, "password", "too_short"),
        ({"password_2": "Different-1"}, "password_2", "mismatch"),
        ({"old_password": ""}, "old_password", "string_too_short"),
    ],
)
def test_bad_new_password(
    client: FlaskClient, headers: dict[str, str], changed: dict[str, str], field: str, code: str
) -> None:
    body = {"old_password": "x", "password": NEW_PASSWORD, "password_2": NEW_PASSWORD, **changed}
    answer = client.post("/auth/password", json=body, headers=headers)
    assert_problem(answer, 400, "invalid_body")
    assert answer.json is not None
    assert (field, code) in [(error["field"], error["code"]) for error in answer.json["errors"]]
