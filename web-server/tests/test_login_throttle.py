"""Who guesses has to wait; who owns the account has not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from werkzeug.test import TestResponse

from idrl_testing.database import Database
from web_server.login_throttle import Attempt

if TYPE_CHECKING:
    from conftest import AuthActions, MakeApp

EMAIL = "ada@example.com"


@pytest.fixture
def door(make_app: MakeApp, auth: AuthActions) -> AuthActions:
    """An account behind a proxy, where three wrong log-ins are enough."""
    auth.client = make_app(
        login_failures_max=3, login_window_s=60, accel_redirect=True
    ).test_client()
    auth.signup()
    return auth


def login(
    door: AuthActions, address: str, password: str | None = None, email: str = EMAIL
) -> TestResponse:
    body = {"email": email, "password": password or "Wrong-passw0rd"}
    return door.client.post("/auth/login", json=body, headers={"X-Forwarded-For": address})


def statuses(
    door: AuthActions, count: int, address: str = "192.0.2.1", email: str = EMAIL
) -> list[int]:
    return [login(door, address, email=email).status_code for _ in range(count)]


@pytest.mark.parametrize("email", [EMAIL, "nobody@example.com", "no address"])
def test_who_guesses_has_to_wait(door: AuthActions, email: str) -> None:
    assert statuses(door, 4, email=email) == [401, 401, 401, 429]
    answer = login(door, "192.0.2.1", email=email)
    assert answer.json is not None
    assert (answer.content_type, answer.json["code"]) == (
        "application/problem+json",
        "too_many_requests",
    )
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


def test_the_right_password_does_not_help_then(door: AuthActions) -> None:
    statuses(door, 3)
    assert login(door, "192.0.2.1", door.password).status_code == 429


def test_the_case_of_the_email_gives_no_new_attempts(door: AuthActions) -> None:
    statuses(door, 3)
    assert login(door, "192.0.2.1", email="ADA@Example.com").status_code == 429


def test_the_owner_at_another_address_gets_in(door: AuthActions) -> None:
    statuses(door, 4)
    assert login(door, "192.0.2.2", door.password).status_code == 200
    assert login(door, "192.0.2.1").status_code == 429


def test_an_address_that_the_caller_makes_up_gives_no_new_attempts(door: AuthActions) -> None:
    for made_up in ("203.0.113.1", "203.0.113.2", "203.0.113.3"):
        login(door, f"{made_up}, 192.0.2.1")
    assert login(door, "203.0.113.4, 192.0.2.1").status_code == 429


def test_without_a_proxy_nobody_is_believed(make_app: MakeApp, auth: AuthActions) -> None:
    auth.client = make_app(login_failures_max=3).test_client()
    assert [login(auth, f"192.0.2.{number}").status_code for number in range(4)] == [
        401,
        401,
        401,
        429,
    ]


def test_a_network_of_ipv6_is_one_caller(door: AuthActions) -> None:
    for number in range(3):
        login(door, f"2001:db8::{number}")
    assert login(door, "2001:db8::ffff").status_code == 429
    assert login(door, "2001:db8:0:1::1").status_code == 401


def test_another_account_is_not_concerned(door: AuthActions) -> None:
    statuses(door, 4)
    assert login(door, "192.0.2.1", email="bob@example.com").status_code == 401


def test_the_right_password_begins_anew(door: AuthActions, database: Database) -> None:
    statuses(door, 2)
    assert login(door, "192.0.2.1", door.password).status_code == 200
    assert database.execute("SELECT * FROM login_failures") == []
    assert statuses(door, 4) == [401, 401, 401, 429]


def test_it_is_forgotten_in_time(door: AuthActions, database: Database) -> None:
    statuses(door, 4)
    statuses(door, 1, address="192.0.2.9")
    database.execute("UPDATE login_failures SET first_at = first_at - interval '61 seconds'")
    assert statuses(door, 4) == [401, 401, 401, 429]
    assert database.execute("SELECT client, failures FROM login_failures") == [("192.0.2.1", 3)]


def test_no_email_is_kept() -> None:
    attempt = Attempt.of(EMAIL, "192.0.2.1")
    assert len(attempt.account) == 64
    assert "ada" not in attempt.account
