"""Guessing is slow, and never locks the owner of an account out."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from werkzeug.test import TestResponse

from idrl_testing.database import Database
from web_server.login_throttle import Limit, LoginThrottle, TooManyFailures, account_of

if TYPE_CHECKING:
    from conftest import AuthActions, MakeApp

EMAIL = "ada@example.com"
NEW = "Another-passw0rd"


@pytest.fixture
def proxied_auth(make_app: MakeApp, auth: AuthActions) -> AuthActions:
    """An account behind a proxy, where three wrong log-ins in an hour are enough.

    No test takes so long that another log-in of a new address is accepted: one in six minutes.
    """
    auth.client = make_app(
        login_failures_max=3, login_strangers_max=10, login_window_s=3600, accel_redirect=True
    ).test_client()
    auth.signup()
    return auth


def login(
    proxied_auth: AuthActions, address: str, password: str | None = None, email: str = EMAIL
) -> TestResponse:
    body = {"email": email, "password": password or "Wrong-passw0rd"}
    return proxied_auth.client.post("/auth/login", json=body, headers={"X-Forwarded-For": address})


def statuses(
    proxied_auth: AuthActions, count: int, address: str = "192.0.2.1", email: str = EMAIL
) -> list[int]:
    return [login(proxied_auth, address, email=email).status_code for _ in range(count)]


@pytest.mark.parametrize("email", [EMAIL, "nobody@example.com", "no address"])
def test_address_is_refused_after_three_failures(proxied_auth: AuthActions, email: str) -> None:
    assert statuses(proxied_auth, 4, email=email) == [401, 401, 401, 429]
    answer = login(proxied_auth, "192.0.2.1", email=email)
    assert answer.json is not None
    assert (answer.content_type, answer.json["code"]) == (
        "application/problem+json",
        "too_many_requests",
    )
    assert 1 <= int(answer.headers["Retry-After"]) <= 3600
    assert answer.headers["RateLimit-Policy"] == '"failed-log-ins";q=3;w=3600'
    assert answer.headers["RateLimit"] == f'"failed-log-ins";r=0;t={answer.headers["Retry-After"]}'


def test_refusal_of_new_addresses_has_their_limit(proxied_auth: AuthActions) -> None:
    answers = [login(proxied_auth, f"192.0.2.{number}") for number in range(20)]
    refused = [answer.headers for answer in answers if answer.status_code == 429]
    assert len(refused) == 10
    for headers in refused:
        assert headers["RateLimit-Policy"] == '"log-ins-of-new-addresses";q=10;w=3600'
        assert headers["RateLimit"] == '"log-ins-of-new-addresses";r=0;t=360'


def test_right_password_is_refused_after_three_failures(proxied_auth: AuthActions) -> None:
    statuses(proxied_auth, 3)
    assert login(proxied_auth, "192.0.2.1", proxied_auth.password).status_code == 429


def test_case_of_the_email_makes_no_difference(proxied_auth: AuthActions) -> None:
    statuses(proxied_auth, 3)
    assert login(proxied_auth, "192.0.2.1", email="ADA@Example.com").status_code == 429


def test_owner_logs_in_from_another_address(proxied_auth: AuthActions) -> None:
    statuses(proxied_auth, 4)
    assert login(proxied_auth, "192.0.2.2", proxied_auth.password).status_code == 200
    assert login(proxied_auth, "192.0.2.1").status_code == 429


def test_forged_forwarded_address_makes_no_difference(proxied_auth: AuthActions) -> None:
    for made_up in ("203.0.113.1", "203.0.113.2", "203.0.113.3"):
        login(proxied_auth, f"{made_up}, 192.0.2.1")
    assert login(proxied_auth, "203.0.113.4, 192.0.2.1").status_code == 429


def test_forwarded_address_is_ignored_without_a_proxy(make_app: MakeApp, auth: AuthActions) -> None:
    auth.client = make_app(login_failures_max=3).test_client()
    assert [login(auth, f"192.0.2.{number}").status_code for number in range(4)] == [
        401,
        401,
        401,
        429,
    ]


def test_ipv6_network_counts_as_one_address(proxied_auth: AuthActions) -> None:
    for number in range(3):
        login(proxied_auth, f"2001:db8::{number}")
    assert login(proxied_auth, "2001:db8::ffff").status_code == 429
    assert login(proxied_auth, "2001:db8:0:1::1").status_code == 401


@pytest.mark.parametrize("address", ["junk", "", "192.0.2.1:80", "[::1]", "x" * 5000, "unix:"])
def test_junk_in_the_forwarded_address_counts_as_one_address(
    proxied_auth: AuthActions, address: str
) -> None:
    assert statuses(proxied_auth, 4, address) == [401, 401, 401, 429]


def test_another_account_is_not_affected(proxied_auth: AuthActions) -> None:
    statuses(proxied_auth, 4)
    assert login(proxied_auth, "192.0.2.1", email="bob@example.com").status_code == 401


def test_right_password_resets_the_count(proxied_auth: AuthActions) -> None:
    statuses(proxied_auth, 2)
    assert login(proxied_auth, "192.0.2.1", proxied_auth.password).status_code == 200
    assert statuses(proxied_auth, 4) == [401, 401, 401, 429]


def test_failures_expire_after_the_window(proxied_auth: AuthActions, database: Database) -> None:
    statuses(proxied_auth, 4)
    statuses(proxied_auth, 1, address="192.0.2.9")
    database.execute("UPDATE login_failures SET first_at = first_at - interval '3601 seconds'")
    assert statuses(proxied_auth, 4) == [401, 401, 401, 429]
    rows = database.execute("SELECT client FROM login_failures ORDER BY client")
    assert rows == [("*",), ("127.0.0.1",), ("192.0.2.1",)]  # 127.0.0.1 signed up


def test_300_guesses_from_30_addresses_are_refused_but_the_owner_logs_in(
    proxied_auth: AuthActions,
) -> None:
    assert login(proxied_auth, "198.51.100.7", proxied_auth.password).status_code == 200
    guesses: Counter[int] = Counter()
    for number in range(300):
        guesses[login(proxied_auth, f"192.0.2.{number % 30}").status_code] += 1
        if number % 10 == 0:  # of which each takes a core for some 50 ms
            owner = login(proxied_auth, "198.51.100.7", proxied_auth.password)
            assert owner.status_code == 200
    # Ten an hour for all new addresses together, the owner's first log-in included.
    assert guesses == {401: 9, 429: 291}


def _parallel_guesses(proxied_auth: AuthActions, passwords: list[str]) -> list[int]:
    """Return the statuses of log-ins from 192.0.2.1, twelve of them at any time."""

    def guess(password: str) -> int:
        client = proxied_auth.client.application.test_client()
        body = {"email": EMAIL, "password": password}
        headers = {"X-Forwarded-For": "192.0.2.1"}
        return client.post("/auth/login", json=body, headers=headers).status_code

    with ThreadPoolExecutor(12) as pool:
        return list(pool.map(guess, passwords))


@pytest.mark.parametrize("is_known", [False, True])
def test_60_parallel_guesses_are_not_more_than_three(
    proxied_auth: AuthActions, is_known: bool
) -> None:
    if is_known:
        assert login(proxied_auth, "192.0.2.1", proxied_auth.password).status_code == 200
    answers = _parallel_guesses(proxied_auth, ["Wrong-passw0rd"] * 60)
    assert (answers.count(401), answers.count(429)) == (3, 57)


def test_right_password_among_parallel_guesses_is_one_of_three(proxied_auth: AuthActions) -> None:
    """Four attempts begin below the limit; the right one ends after the others have failed."""
    assert login(proxied_auth, "192.0.2.1", proxied_auth.password).status_code == 200
    throttle = LoginThrottle.of(EMAIL, "192.0.2.1", Limit(3, 3600, 10))
    with proxied_auth.client.application.app_context():
        for _ in range(4):
            throttle.check()
        for _ in range(3):
            throttle.record_failure()
        with pytest.raises(TooManyFailures):
            throttle.record_success(1, EMAIL)
    assert login(proxied_auth, "192.0.2.1", proxied_auth.password).status_code == 429


def test_parallel_wrong_old_passwords_are_not_more_than_three(proxied_auth: AuthActions) -> None:
    token = login(proxied_auth, "192.0.2.1", proxied_auth.password).json
    assert token is not None
    headers = {
        "X-Forwarded-For": "192.0.2.1",
        "Authorization": f"Bearer {token['token']}",
    }
    body = {"old_password": "Wrong-passw0rd", "password": NEW, "password_2": NEW}

    def guess(_: int) -> int:
        client = proxied_auth.client.application.test_client()
        return client.post("/auth/password", json=body, headers=headers).status_code

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(guess, range(30)))
    assert (answers.count(401), answers.count(429)) == (3, 27)


def test_parallel_log_ins_of_the_owner_are_not_refused(proxied_auth: AuthActions) -> None:
    """The address of the sign-up has not logged in yet, and is known all the same."""
    clients = [proxied_auth.client.application.test_client() for _ in range(12)]
    body = {"email": EMAIL, "password": proxied_auth.password}
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda each: each.post("/auth/login", json=body), clients))
    assert {answer.status_code for answer in answers} == {200}


def test_known_addresses_stay_known_under_a_new_email(
    proxied_auth: AuthActions, database: Database
) -> None:
    """Also one with a failed log-in to that email; other addresses stay unknown."""
    home, work, new = "198.51.100.7", "198.51.100.8", "ada@example.org"
    for address in (home, work):
        answer = login(proxied_auth, address, proxied_auth.password)
    assert statuses(proxied_auth, 1, "192.0.2.99") == [401]
    assert statuses(proxied_auth, 1, work, new) == [401]
    assert answer.json is not None
    headers = {"X-Forwarded-For": home, "Authorization": f"Bearer {answer.json['token']}"}
    body = {"email": new, "password": proxied_auth.password}
    assert proxied_auth.client.patch("/me", json=body, headers=headers).status_code == 200
    for number in range(12):
        login(proxied_auth, f"192.0.2.{number}", email=new)
    assert login(proxied_auth, "192.0.2.99", proxied_auth.password, new).status_code == 429
    for address in (home, work):
        assert login(proxied_auth, address, proxied_auth.password, new).status_code == 200
    old = f"SELECT FROM login_failures WHERE account = '{account_of(EMAIL)}'"
    assert database.execute(old) == []


def test_no_email_is_stored(proxied_auth: AuthActions, database: Database) -> None:
    statuses(proxied_auth, 1)
    assert len(account_of(EMAIL)) == 64
    rows = database.execute("SELECT DISTINCT account FROM login_failures")
    assert rows == [(account_of(EMAIL),)]


@pytest.mark.parametrize(
    ("email", "same"),
    [
        ("ibis@example.com", "İbis@example.com"),
        ("ibis@example.com", "ibİs@example.com"),
        ("ibis@example.com", "ibis@eXample.com"),
        ("\u03bb\u03c3@example.com", "\u039b\u03a3@example.com"),
    ],
)
def test_letters_that_the_database_takes_for_the_same_make_no_difference(
    proxied_auth: AuthActions, email: str, same: str
) -> None:
    assert proxied_auth.signup("ibis", email).status_code == 201
    assert statuses(proxied_auth, 3, email=email) == [401, 401, 401]
    assert login(proxied_auth, "192.0.2.1", proxied_auth.password, same).status_code == 429


def test_emails_that_differ_in_the_database_are_counted_apart(database: Database) -> None:
    """Letter by letter: two have one lower-case form there exactly where they have one here."""
    rows = database.execute(
        "SELECT chr(n), lower(chr(n)) FROM generate_series(1, 131071) n"
        " WHERE n NOT BETWEEN 55296 AND 57343"
    )
    differ = [letter for letter, lower in rows if account_of(str(letter)) != account_of(str(lower))]
    assert differ == []
