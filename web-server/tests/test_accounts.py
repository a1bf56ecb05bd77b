"""What the owner of an account does with it."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING

import jwt
import pytest
from flask.testing import FlaskClient

from idrl_testing.database import Database
from web_testing import CLIP, assert_problem

if TYPE_CHECKING:
    from conftest import AuthActions, Exchange, Keys, MakeApp, TasksStandIn

NEW_PASSWORD = "Another-passw0rd"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def log_in(auth: AuthActions, password: str | None = None) -> dict[str, str]:
    answer = auth.login(password=password)
    assert answer.json is not None
    return bearer(answer.json["token"])


def new_key(client: FlaskClient, headers: dict[str, str], **changed: object) -> dict[str, str]:
    answer = client.post("/me/keys", json={"name": "script", **changed}, headers=headers)
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    document: dict[str, str] = answer.json  # type: ignore[assignment] # an object
    return document


# --- tokens


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
    make_app: MakeApp, client: FlaskClient, headers: dict[str, str]
) -> None:
    other = make_app().test_client()
    assert other.get("/tasks", headers=headers).status_code == 200
    started = time.monotonic()
    client.post("/auth/logout", headers=headers)
    while other.get("/tasks", headers=headers).status_code == 200:
        assert time.monotonic() - started < 7
        time.sleep(0.1)


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


# --- profile


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
    }


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


# --- keys


def test_key_is_exchanged_for_a_token_of_the_tasks_service(
    client: FlaskClient, headers: dict[str, str], tasks: TasksStandIn, keys: Keys
) -> None:
    key = new_key(client, headers)["key"]
    assert key.startswith("idrl_")
    assert client.get("/tasks", headers=bearer(key)).status_code == 200
    sent = tasks.seen[0].headers["Authorization"].split()[1]
    claims = jwt.decode(sent, keys.public, algorithms=["EdDSA"], audience="idrl")
    assert claims["user_id"] == 1
    assert claims["exp"] - claims["iat"] <= 120


def test_nginx_gets_the_exchanged_token_for_a_clip(
    make_app: MakeApp, client: FlaskClient, headers: dict[str, str]
) -> None:
    key = new_key(client, headers)["key"]
    behind_nginx = make_app(accel_redirect=True).test_client()
    answer = behind_nginx.get(CLIP, headers=bearer(key))
    assert "X-Accel-Redirect" in answer.headers
    assert answer.headers["X-Accel-Authorization"].startswith("Bearer ey")
    assert "X-Accel-Authorization" not in behind_nginx.get(CLIP, headers=headers).headers


def test_key_works_on_every_call_of_the_account(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    key = bearer(new_key(client, headers)["key"])
    for path in ("/me", "/me/keys", "/tasks", CLIP):
        assert client.get(path, headers=key).status_code == 200
    assert_problem(client.post("/auth/refresh", headers=key), 401, "login_required")


def test_keys_are_listed_without_the_key_and_stored_hashed(
    client: FlaskClient, headers: dict[str, str], database: Database
) -> None:
    made = [new_key(client, headers, name=name) for name in ("first", "second")]
    listed = client.get("/me/keys", headers=headers).json
    assert listed == [
        {name: value for name, value in key.items() if name != "key"} for key in reversed(made)
    ]
    rows = str(database.execute("SELECT * FROM api_keys"))
    assert not any(key["key"] in rows for key in made)


def test_deleted_key_opens_nothing(client: FlaskClient, headers: dict[str, str]) -> None:
    key = new_key(client, headers)
    assert client.get("/tasks", headers=bearer(key["key"])).status_code == 200
    assert client.delete(f"/me/keys/{key['key_id']}", headers=headers).status_code == 204
    assert_problem(client.get("/tasks", headers=bearer(key["key"])), 401, "token_invalid")
    again = client.delete(f"/me/keys/{key['key_id']}", headers=headers)
    assert_problem(again, 404, "key_not_found")


def test_expired_key_opens_nothing(
    client: FlaskClient, headers: dict[str, str], database: Database
) -> None:
    key = new_key(client, headers, expires_in_days=1)
    assert key["expires_at"] > key["created_at"]
    database.execute("UPDATE api_keys SET expires_at = now() - interval '1 second'")
    assert_problem(client.get("/tasks", headers=bearer(key["key"])), 401, "token_invalid")


@pytest.mark.parametrize("key", ["idrl_", "idrl_x", "idrl_" + "A" * 43, "idrl_" + "A" * 5000])
def test_key_that_there_is_not_opens_nothing(client: FlaskClient, key: str) -> None:
    assert_problem(client.get("/tasks", headers=bearer(key)), 401, "token_invalid")


def test_key_of_another_account_is_not_found(
    client: FlaskClient, auth: AuthActions, headers: dict[str, str]
) -> None:
    key = new_key(client, headers)
    auth.signup("bob", "bob@example.com")
    answer = auth.login("bob@example.com").json
    assert answer is not None
    bob = bearer(answer["token"])
    assert client.get("/me/keys", headers=bob).json == []
    for key_id in (key["key_id"], str(uuid.uuid4()), "x"):
        assert_problem(client.delete(f"/me/keys/{key_id}", headers=bob), 404, "key_not_found")
    assert client.get("/tasks", headers=bearer(key["key"])).status_code == 200


def test_at_most_100_keys(client: FlaskClient, headers: dict[str, str], database: Database) -> None:
    database.execute(
        "INSERT INTO api_keys (user_id, name, key_sha256)"
        " SELECT 1, 'x', number::text FROM generate_series(1, 100) AS number"
    )
    answer = client.post("/me/keys", json={"name": "one more"}, headers=headers)
    assert_problem(answer, 409, "too_many_keys")


# --- deletion


def test_deleted_account_leaves_nothing(
    client: FlaskClient,
    auth: AuthActions,
    headers: dict[str, str],
    tasks: TasksStandIn,
    database: Database,
) -> None:
    key = new_key(client, headers)["key"]
    live = {str(uuid.uuid4()): 2, str(uuid.uuid4()): 1}  # task id, DELETEs until it is gone
    left = dict(live)

    def answer(exchange: Exchange) -> None:
        if exchange.command == "GET":
            body = json.dumps([{"task_id": task_id} for task_id in left])
            return exchange.say(200, body.encode())
        task_id = exchange.path.rpartition("/")[2]
        left[task_id] -= 1
        if not left[task_id]:
            del left[task_id]
        return exchange.say(200, b"{}")

    tasks.answer = answer
    auth.login(password="Wrong-passw0rd")
    result = client.delete("/me", json={"password": auth.password}, headers=headers)
    assert (result.status_code, result.data) == (204, b"")
    deletes = [seen.target for seen in tasks.seen if seen.method == "DELETE"]
    assert sorted(deletes) == sorted(
        f"/tasks/{task_id}" for task_id, times in live.items() for _ in range(times)
    )
    for token in (headers, bearer(key)):
        assert_problem(client.get("/tasks", headers=token), 401, "token_invalid")
    assert_problem(auth.login(), 401, "bad_credentials")
    database.execute("DELETE FROM login_failures WHERE succeeded_at IS NULL")  # of that log-in
    for table in ("users", "api_keys", "login_failures", "invitations"):
        assert database.execute(f"SELECT * FROM {table}") == [], table


def test_deletion_needs_the_password(
    client: FlaskClient, headers: dict[str, str], database: Database, tasks: TasksStandIn
) -> None:
    answer = client.delete("/me", json={"password": "Wrong-passw0rd"}, headers=headers)
    assert_problem(answer, 401, "bad_credentials")
    assert database.execute("SELECT count(*) FROM users") == [(1,)]
    assert tasks.seen == []


def test_deletion_with_the_tasks_service_away_keeps_the_account(
    client: FlaskClient,
    auth: AuthActions,
    headers: dict[str, str],
    tasks: TasksStandIn,
    database: Database,
) -> None:
    tasks.answer = lambda exchange: exchange.hang_up()
    answer = client.delete("/me", json={"password": auth.password}, headers=headers)
    assert_problem(answer, 502, "tasks_unavailable")
    assert database.execute("SELECT count(*) FROM users") == [(1,)]
    assert auth.login().status_code == 200


# --- who may sign up


def test_closed_sign_up(make_app: MakeApp, auth: AuthActions) -> None:
    auth.client = make_app(signup="closed").test_client()
    assert_problem(auth.signup(), 403, "signup_closed")


def test_invitation_is_good_for_one_sign_up(make_app: MakeApp, auth: AuthActions) -> None:
    app = make_app(signup="invite")
    auth.client = app.test_client()
    code = app.test_cli_runner().invoke(args=["users", "invite"]).output.strip()
    assert_problem(auth.signup(), 403, "invitation_invalid")
    assert_problem(auth.signup(invitation="x"), 403, "invitation_invalid")
    assert auth.signup(invitation=code).status_code == 201
    again = auth.signup("bob", "bob@example.com", invitation=code)
    assert_problem(again, 403, "invitation_invalid")
    assert auth.login().status_code == 200


def test_operators_add_list_and_disable_accounts(make_app: MakeApp, auth: AuthActions) -> None:
    app = make_app(signup="closed")
    auth.client, run = app.test_client(), app.test_cli_runner().invoke
    added = run(args=["users", "add", "ada", "ada@example.com", "--operator"])
    password = added.output.rpartition("password: ")[2].strip()
    headers = log_in(auth, password)
    me = auth.client.get("/me", headers=headers).json
    assert me is not None
    assert me["role"] == "operator"
    assert "ada@example.com\toperator\tactive" in run(args=["users", "list"]).output

    assert run(args=["users", "disable", "ADA@example.com"]).exit_code == 0
    assert_problem(auth.login(password=password), 403, "account_disabled")
    assert_problem(auth.login(), 401, "bad_credentials")
    fresh = make_app().test_client()
    assert_problem(fresh.get("/tasks", headers=headers), 401, "token_invalid")
    assert "disabled" in run(args=["users", "list"]).output
    run(args=["users", "disable", "--undo", "ada@example.com"])
    assert auth.login(password=password).status_code == 200

    reset = run(args=["users", "reset-password", "ada@example.com"]).output
    assert_problem(auth.login(password=password), 401, "bad_credentials")
    assert auth.login(password=reset.rpartition("password: ")[2].strip()).status_code == 200
    run(args=["users", "set-role", "ada@example.com", "user"])
    assert "ada@example.com\tuser\tactive" in run(args=["users", "list"]).output


def test_operators_mistakes_are_answered_with_a_sentence(make_app: MakeApp) -> None:
    run = make_app().test_cli_runner().invoke
    run(args=["users", "add", "ada", "ada@example.com"])
    for arguments, sentence in (
        (["add", "ADA", "x@example.com"], "This username is taken."),
        (["add", "ad\u0007a", "x@example.com"], "username: Must not contain"),
        (["add", "bob", "no address"], "email: Must be an email address."),
        (["add", "bob", "b@example.com", "--password", "x"], "password: Must have at least 8"),
        (["disable", "nobody@example.com"], "There is no account with this email."),
        (["set-role", "ada@example.com", "root"], "Invalid value"),
    ):
        result = run(args=["users", *arguments])
        assert result.exit_code != 0
        assert sentence in result.output


def test_refused_log_in_names_the_account_without_its_email(
    auth: AuthActions, caplog: pytest.LogCaptureFixture
) -> None:
    auth.signup()
    auth.login(password="Wrong-passw0rd")
    [record] = [each for each in caplog.records if each.getMessage() == "log-in refused"]
    assert (len(record.account), record.reason) == (12, "BadCredentials")  # type: ignore[attr-defined]
    assert "ada" not in str(vars(record))


def test_key_survives_no_disabled_account(
    make_app: MakeApp, client: FlaskClient, headers: dict[str, str]
) -> None:
    key = new_key(client, headers)["key"]
    app = make_app()
    app.test_cli_runner().invoke(args=["users", "disable", "ada@example.com"])
    answer = app.test_client().get("/tasks", headers=bearer(key))
    assert_problem(answer, 401, "token_invalid")
