"""Sign-up and log-in over HTTP."""

from __future__ import annotations

import json
import statistics
import time
from typing import TYPE_CHECKING, Any

import pytest
from argon2 import PasswordHasher
from flask.testing import FlaskClient
from hypothesis import HealthCheck, example, given, settings, strategies as st
from werkzeug.test import TestResponse

from idrl_local import servers
from idrl_testing.database import Database

if TYPE_CHECKING:
    from conftest import AuthActions, MakeApp

LOGIN = {"email": "ada@example.com", "password": "Passw0rd-1"}
GOOD = {
    "username": "ada",
    "email": "ada@example.com",
    "password": "Passw0rd-1",
    "password_2": "Passw0rd-1",
}


def assert_problem(answer: TestResponse, status: int, code: str) -> None:
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert answer.json is not None
    assert (answer.json["status"], answer.json["code"]) == (status, code)
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]


def field_errors(answer: TestResponse) -> list[tuple[str, str]]:
    assert_problem(answer, 400, "invalid_body")
    assert answer.json is not None
    return [(error["field"], error["code"]) for error in answer.json["errors"]]


def test_signup_creates_the_user(auth: AuthActions, database: Database) -> None:
    answer = auth.signup()
    assert answer.status_code == 201
    assert answer.json == {"user_id": 1, "username": "ada", "email": "ada@example.com"}
    [(username, email, password_hash)] = database.execute(
        "SELECT username, email, password_hash FROM users"
    )
    assert (username, email) == ("ada", "ada@example.com")
    assert str(password_hash).startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_signup_trims_and_normalises(auth: AuthActions) -> None:
    answer = auth.signup(username="  \uff21da ", email=" Ada@EXAMPLE.com ")
    assert answer.json == {"user_id": 1, "username": "Ada", "email": "Ada@example.com"}


@pytest.mark.parametrize("username", ["ada", "ADA", " Ada ", "\uff41da"])
def test_a_username_is_taken_in_any_case(auth: AuthActions, username: str) -> None:
    auth.signup("ada", "first@example.com")
    assert_problem(auth.signup(username, "second@example.com"), 409, "username_taken")


@pytest.mark.parametrize("email", ["ada@example.com", "ADA@example.com", "ada@EXAMPLE.COM"])
def test_an_email_is_taken_in_any_case(auth: AuthActions, database: Database, email: str) -> None:
    auth.signup("first", "ada@example.com")
    assert_problem(auth.signup("second", email), 409, "email_taken")
    assert database.execute("SELECT count(*) FROM users") == [(1,)]


@pytest.mark.parametrize(
    ("password", "codes"),
    [
        ("Short1", ["too_short"]),
        ("Aa1" * 43, ["too_long"]),
        ("no-upper-1", ["no_upper"]),
        ("NO-LOWER-1", ["no_lower"]),
        ("No-digit-at-all", ["no_digit"]),
        ("", ["too_short", "no_upper", "no_lower", "no_digit"]),
        ("-" * 129, ["too_long", "no_upper", "no_lower", "no_digit"]),
    ],
)
def test_every_broken_password_rule_is_named(
    auth: AuthActions, password: str, codes: list[str]
) -> None:
    answer = auth.signup(password=password, password_2=password)
    assert field_errors(answer) == [("password", code) for code in codes]


@pytest.mark.parametrize(
    "password", ["Aa1-----", "Aa1" * 42 + "Aa", "\u00c9t\u00e9-\u0663-\u4f60\u597d"]
)
def test_a_password_of_any_script_will_do(auth: AuthActions, password: str) -> None:
    assert auth.signup(password=password, password_2=password).status_code == 201
    assert auth.login(password=password).status_code == 200


def test_both_passwords_must_be_equal(auth: AuthActions) -> None:
    assert field_errors(auth.signup(password_2="Passw0rd-2")) == [("password_2", "mismatch")]


def test_mismatch_and_broken_rule_are_both_reported(auth: AuthActions) -> None:
    answer = auth.signup(password="Short1", password_2="Passw0rd-2")
    assert field_errors(answer) == [("password", "too_short"), ("password_2", "mismatch")]


@pytest.mark.parametrize(
    ("changed", "errors"),
    [
        ({"username": ""}, [("username", "string_too_short")]),
        ({"username": " \t "}, [("username", "string_too_short")]),
        ({"username": "x" * 65}, [("username", "string_too_long")]),
        ({"username": "a\u0007b"}, [("username", "not_printable")]),
        ({"username": "a\u202eb"}, [("username", "not_printable")]),
        ({"username": "\u3164"}, [("username", "not_printable")]),
        ({"username": "ada\u034f"}, [("username", "not_printable")]),
        ({"username": "\u2800"}, [("username", "not_printable")]),
        ({"email": "ada\u034f@example.com"}, [("email", "not_printable")]),
        ({"email": "\u3164@example.com"}, [("email", "not_printable")]),
        ({"username": "a\x00b"}, [("username", "string_nul")]),
        ({"username": None}, [("username", "string_type")]),
        ({"username": 7}, [("username", "string_type")]),
        ({"username": ["ada"]}, [("username", "string_type")]),
        ({"email": ""}, [("email", "email_invalid")]),
        ({"email": "ada"}, [("email", "email_invalid")]),
        ({"email": "ada@"}, [("email", "email_invalid")]),
        ({"email": "ada@example"}, [("email", "email_invalid")]),
        ({"email": "Ada <ada@example.com>"}, [("email", "email_invalid")]),
        ({"email": "ada@example.com\r\nBcc: x@example.com"}, [("email", "email_invalid")]),
        (
            {"email": f"{'a' * 60}@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 60}.com"},
            [("email", "email_invalid")],
        ),
        ({"email": True}, [("email", "string_type")]),
        ({"password": 12345678}, [("password", "string_type"), ("password_2", "mismatch")]),
        ({"password_2": None}, [("password_2", "string_type")]),
        ({"user_id": 7}, [("user_id", "extra_forbidden")]),
    ],
)
def test_a_wrong_field_is_named(
    auth: AuthActions, changed: dict[str, Any], errors: list[tuple[str, str]]
) -> None:
    assert field_errors(auth.signup(**changed)) == errors


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    username=st.text(max_size=70),
    email=st.emails() | st.text(max_size=20),
    password=st.text(max_size=20),
)
@example(username="\ufdfa" * 5, email="a@example.com", password="Passw0rd-1")
@example(
    username="\u0130" * 64,
    email=f"{'a' * 64}@{'b' * 60}.{'c' * 60}.{'d' * 60}.com",
    password="Passw0rd-1",
)
@example(username="'; DROP TABLE users; --", email="o'hara@example.com", password="Passw0rd-1")
def test_any_text_is_accepted_or_refused(
    auth: AuthActions, username: str, email: str, password: str
) -> None:
    answer = auth.signup(username, email, password=password, password_2=password)
    assert answer.status_code in {201, 400, 409}
    if answer.status_code == 201:
        assert auth.login(email, password).status_code == 200


@pytest.mark.parametrize("path", ["/auth/signup", "/auth/login"])
def test_missing_fields_are_all_named(client: FlaskClient, path: str) -> None:
    errors = field_errors(client.post(path, json={}))
    assert {code for _, code in errors} == {"missing"}
    assert ("email", "missing") in errors
    assert ("password", "missing") in errors


@pytest.mark.parametrize("path", ["/auth/signup", "/auth/login"])
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b'{"email": "a@example.com",}', "malformed_json"),
        (b"\xff\xfe", "malformed_json"),
        (b"[" * 8_000, "malformed_json"),
        (b"[]", "invalid_body"),
        (b"null", "invalid_body"),
        (b'"text"', "invalid_body"),
        (b'{"email": "\\ud800", "password": "\\ud800"}', "malformed_json"),
    ],
)
def test_a_body_that_is_no_json_object(
    client: FlaskClient, path: str, body: bytes, code: str
) -> None:
    assert_problem(client.post(path, data=body, content_type="application/json"), 400, code)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_wrong_content_type(client: FlaskClient, content_type: str | None) -> None:
    answer = client.post("/auth/signup", data=json.dumps(GOOD), content_type=content_type)
    assert_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("path", ["/auth/signup", "/auth/login"])
def test_a_body_over_8_kib_is_refused(client: FlaskClient, path: str) -> None:
    largest = client.post(path, data=b" " * 8192, content_type="application/json")
    assert_problem(largest, 400, "malformed_json")
    answer = client.post(path, data=b" " * 8193, content_type="application/json")
    assert_problem(answer, 413, "body_too_large")


@pytest.mark.parametrize("path", ["/auth/signup", "/auth/login"])
@pytest.mark.parametrize("field", ["username", "email", "password", "password_2", "unknown"])
@pytest.mark.parametrize(
    "text",
    [
        "a" + "\u0316\u0301" * 1300,  # marks that NFKC sorts by class, in quadratic time
        "\ufdfa" * 1300,  # one character becomes 18
        "\u1100" * 1300,
        "a." * 1900 + "@example.com",
        "a@" + "xn--a." * 600 + "com",  # IDNA
        "(" * 3900,
        " " * 3900,
    ],
)
def test_long_text_is_answered_at_once(
    client: FlaskClient, path: str, field: str, text: str
) -> None:
    body = {**GOOD, field: text} if path == "/auth/signup" else {**LOGIN, field: text}
    data = json.dumps(body, ensure_ascii=False).encode()
    assert len(data) <= 8192
    started_s = time.process_time()
    answer = client.post(path, data=data, content_type="application/json")
    assert answer.status_code in {400, 401}
    # One hash of a password takes some 50 ms; NFKC of these marks alone took longer than a second.
    assert time.process_time() - started_s < 1


def test_a_hundred_thousand_unknown_fields_get_a_short_answer(client: FlaskClient) -> None:
    many = {**GOOD, **{f"f{number}": 1 for number in range(100_000)}}
    assert_problem(client.post("/auth/signup", json=many), 413, "body_too_large")
    fitting = {f"{number}": 1 for number in range(800)}
    answer = client.post("/auth/signup", json=fitting)
    assert len(field_errors(answer)) == 20
    assert len(answer.data) < 4096


def test_a_long_name_of_an_unknown_field_is_cut(client: FlaskClient) -> None:
    answer = client.post("/auth/signup", json={**GOOD, "x" * 7000: 1})
    assert field_errors(answer) == [("x" * 63 + "…", "extra_forbidden")]


def test_an_unknown_path(client: FlaskClient) -> None:
    assert_problem(client.get("/nowhere"), 404, "not_found")


def test_a_wrong_method(client: FlaskClient) -> None:
    answer = client.get("/auth/login")
    assert_problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == {"OPTIONS", "POST"}


@pytest.mark.parametrize("path", ["//auth//signup", "/auth/signup/", "///auth/signup"])
def test_slashes_do_not_matter(client: FlaskClient, path: str) -> None:
    # Set behind the client's back, which would read a path that starts with `//` as a host.
    assert client.post("/", json=GOOD, environ_overrides={"PATH_INFO": path}).status_code == 201


def test_login_gives_a_token(auth: AuthActions) -> None:
    auth.signup()
    answer = auth.login()
    assert answer.status_code == 200
    assert answer.json is not None
    assert set(answer.json) == {"token", "token_type", "expires_in"}
    assert (answer.json["token_type"], answer.json["expires_in"]) == ("Bearer", 3600)
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("email", ["ADA@example.com", "ada@EXAMPLE.com", " ada@example.com "])
def test_login_ignores_the_case_of_the_email(auth: AuthActions, email: str) -> None:
    auth.signup()
    assert auth.login(email).status_code == 200


def test_wrong_email_and_wrong_password_get_the_same_answer(auth: AuthActions) -> None:
    auth.signup()
    answers = [auth.login(password="Wrong-passw0rd"), auth.login("nobody@example.com")]
    for answer in answers:
        assert_problem(answer, 401, "bad_credentials")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    bodies = [{**(answer.json or {}), "request_id": None} for answer in answers]
    assert bodies[0] == bodies[1]


def test_wrong_email_and_wrong_password_take_the_same_time(
    make_app: MakeApp, auth: AuthActions
) -> None:
    auth.client = make_app(login_failures_max=1000).test_client()
    auth.signup()

    def seconds(email: str) -> float:
        start = time.process_time()
        auth.login(email, "Wrong-passw0rd")
        return time.process_time() - start

    # Alternate, so that other load on the machine slows both down alike, which shows a little
    # in processor time too.
    pairs = [(seconds("nobody@example.com"), seconds("ada@example.com")) for _ in range(15)]
    unknown_s, known_s = (statistics.median(times) for times in zip(*pairs, strict=True))
    # Without a hash for unknown accounts the ratio is about one to ten.
    assert 0.4 < unknown_s / known_s < 2.5


@pytest.mark.parametrize(
    "email", ["ada", "ada@", "x" * 4_000, "ada@example.com' OR 1=1 --", "\u0130@example.com"]
)
def test_login_with_what_is_no_email_is_a_wrong_email(auth: AuthActions, email: str) -> None:
    auth.signup()
    assert_problem(auth.login(email), 401, "bad_credentials")


def test_login_hashes_no_endless_password(auth: AuthActions) -> None:
    auth.signup()
    assert_problem(auth.login(password="x" * 129), 401, "bad_credentials")
    assert_problem(auth.login(password="x" * 4_000), 401, "bad_credentials")


def test_login_with_empty_fields(client: FlaskClient) -> None:
    errors = field_errors(client.post("/auth/login", json={"email": "", "password": ""}))
    assert errors == [("email", "string_too_short"), ("password", "string_too_short")]


def test_login_renews_an_outdated_hash(auth: AuthActions, database: Database) -> None:
    auth.signup()
    outdated = PasswordHasher(memory_cost=1024, time_cost=1, parallelism=1).hash(auth.password)
    database.execute(f"UPDATE users SET password_hash = '{outdated}'")
    assert auth.login().status_code == 200
    [(renewed,)] = database.execute("SELECT password_hash FROM users")
    assert str(renewed).startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert auth.login().status_code == 200


def test_log_in_without_the_database_is_503(make_app: MakeApp) -> None:
    client = make_app(postgres_port=servers.free_port()).test_client()
    answer = client.post("/auth/login", json={"email": "ada@example.com", "password": "x"})
    assert_problem(answer, 503, "database_unavailable")
    assert answer.headers["Retry-After"] == "5"


def test_a_bug_is_a_problem_without_a_trace(make_app: MakeApp, headers: dict[str, str]) -> None:
    app = make_app()

    @app.get("/bug")
    def bug() -> str:
        raise RuntimeError("a secret in a trace")

    answer = app.test_client().get("/bug", headers=headers)
    assert_problem(answer, 500, "internal_error")
    assert b"secret" not in answer.data
