"""API keys: what they open, how they are listed, and how they end."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING

import jwt
import pytest
from flask.testing import FlaskClient

from idrl_testing.database import Database
from web_testing import CLIP, assert_problem, bearer, new_key

if TYPE_CHECKING:
    from conftest import AuthActions, Keys, MakeApp, TasksStandIn


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
    refusal = client.post("/auth/refresh", headers=key)
    assert_problem(refusal, 401, "login_required")
    assert "send the key itself" in refusal.text


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


def test_key_shows_its_last_use(
    client: FlaskClient, headers: dict[str, str], database: Database
) -> None:
    used = new_key(client, headers, name="used")
    new_key(client, headers, name="other")
    assert client.get("/me", headers=bearer(used["key"])).status_code == 200
    listed = client.get("/me/keys", headers=headers).get_json()
    by_name = {key["name"]: key for key in listed}
    ((now,),) = database.execute("SELECT now()")
    last_used_at = datetime.fromisoformat(by_name["used"]["last_used_at"])
    assert abs((now - last_used_at).total_seconds()) < 30  # type: ignore[operator] # of any type
    assert by_name["other"]["last_used_at"] is None


def test_key_shows_a_later_use_too(
    make_app: MakeApp, client: FlaskClient, headers: dict[str, str], database: Database
) -> None:
    key = bearer(new_key(client, headers)["key"])
    assert client.get("/me", headers=key).status_code == 200
    database.execute("UPDATE api_keys SET last_used_at = now() - interval '2 minutes'")
    another_process = make_app().test_client()  # this one has looked the key up just now
    assert another_process.get("/me", headers=key).status_code == 200
    assert database.execute("SELECT now() - last_used_at < '1 minute' FROM api_keys") == [(True,)]


def test_deleted_key_is_refused(client: FlaskClient, headers: dict[str, str]) -> None:
    key = new_key(client, headers)
    assert client.get("/tasks", headers=bearer(key["key"])).status_code == 200
    assert client.delete(f"/me/keys/{key['key_id']}", headers=headers).status_code == 204
    assert_problem(client.get("/tasks", headers=bearer(key["key"])), 401, "token_invalid")
    again = client.delete(f"/me/keys/{key['key_id']}", headers=headers)
    assert_problem(again, 404, "key_not_found")


def test_expired_key_is_refused(
    client: FlaskClient, headers: dict[str, str], database: Database
) -> None:
    key = new_key(client, headers, expires_in_days=1)
    assert key["expires_at"] > key["created_at"]
    database.execute("UPDATE api_keys SET expires_at = now() - interval '1 second'")
    assert_problem(client.get("/tasks", headers=bearer(key["key"])), 401, "token_invalid")


def test_key_expires_after_a_whole_number_of_days(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    """JSON has numbers, not integers: 2.0 is accepted as 2, and 0.5 is refused."""
    assert new_key(client, headers, expires_in_days=2.0)["expires_at"]
    for days in (1.5, "2", True, 0, 3651):
        refused = client.post(
            "/me/keys", json={"name": "x", "expires_in_days": days}, headers=headers
        )
        assert_problem(refused, 400, "invalid_body")


@pytest.mark.parametrize("name", ["", " ", "  "])
def test_key_needs_a_name_that_shows(
    client: FlaskClient, headers: dict[str, str], name: str
) -> None:
    answer = client.post("/me/keys", json={"name": name}, headers=headers)
    assert_problem(answer, 400, "invalid_body")
    assert [error["code"] for error in answer.get_json()["errors"]] == ["string_too_short"]


@pytest.mark.parametrize("key", ["idrl_", "idrl_x", "idrl_" + "A" * 43, "idrl_" + "A" * 5000])
def test_unknown_key_is_refused(client: FlaskClient, key: str) -> None:
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


def test_key_of_a_disabled_account_is_refused(
    make_app: MakeApp, client: FlaskClient, headers: dict[str, str]
) -> None:
    key = new_key(client, headers)["key"]
    app = make_app()
    app.test_cli_runner().invoke(args=["users", "disable", "ada@example.com"])
    answer = app.test_client().get("/tasks", headers=bearer(key))
    assert_problem(answer, 401, "token_invalid")


def test_keys_are_listed_in_pages(client: FlaskClient, headers: dict[str, str]) -> None:
    for number in range(5):
        new_key(client, headers, name=f"key {number}")
    whole = client.get("/me/keys", headers=headers)
    assert "Link" not in whole.headers
    listed, path = [], "/me/keys?max=2"
    while path:
        page = client.get(path, headers=headers)
        listed.append(page.get_json())
        path = page.headers.get("Link", "").partition(">")[0][1:]
    assert [len(page) for page in listed] == [2, 2, 1]
    assert [key for page in listed for key in page] == whole.get_json()


def test_cursors_of_keys_are_good_for_their_owner(
    client: FlaskClient, headers: dict[str, str], auth: AuthActions
) -> None:
    for number in range(2):
        new_key(client, headers, name=f"key {number}")
    link = client.get("/me/keys?max=1", headers=headers).headers["Link"].partition(">")[0][1:]
    assert_problem(client.get(f"{link}x", headers=headers), 400, "cursor_invalid")
    auth.signup("bob", "bob@example.com")
    other = bearer(auth.login("bob@example.com").get_json()["token"])
    assert_problem(client.get(link, headers=other), 400, "cursor_invalid")
    for query in ("max=0", "max=101", "order=1"):
        assert_problem(client.get(f"/me/keys?{query}", headers=headers), 400, "invalid_query")
