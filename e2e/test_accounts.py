"""Signing up and logging in."""

import base64
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
from blackbox.client import Account, Api
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NewAccount = Callable[[], Account]

BAD_FIELDS: list[tuple[dict[str, object], set[tuple[str, str | None]]]] = [
    ({"username": ""}, {("username", None)}),
    ({"username": "a" * 65}, {("username", None)}),
    ({"username": 7}, {("username", "string_type")}),
    ({"username": None}, {("username", "string_type")}),
    ({"username": "a\x00b"}, {("username", None)}),
    ({"email": "nobody"}, {("email", None)}),
    ({"email": "a@" + "b" * 260 + ".com"}, {("email", None)}),
    ({"email": ["a@example.com"]}, {("email", None)}),
    ({"password": "Short1", "password_2": "Short1"}, {("password", "too_short")}),
    ({"password": "Aa1" + "x" * 126, "password_2": "Aa1" + "x" * 126}, {("password", "too_long")}),
    ({"password": "no-upper-1", "password_2": "no-upper-1"}, {("password", "no_upper")}),
    ({"password": "NO-LOWER-1", "password_2": "NO-LOWER-1"}, {("password", "no_lower")}),
    ({"password": "No-digit-here", "password_2": "No-digit-here"}, {("password", "no_digit")}),
    ({"password_2": "Analytical2"}, {("password_2", "mismatch")}),
    ({"password": "", "password_2": ""}, {("password", None)}),
    ({"is_admin": True}, {("is_admin", "extra_forbidden")}),
    (
        {"password": "short", "password_2": "other"},
        {
            ("password", "too_short"),
            ("password", "no_upper"),
            ("password", "no_digit"),
            ("password_2", "mismatch"),
        },
    ),
]


def test_signup_then_login(anonymous: Api, new_account: NewAccount) -> None:
    account = new_account()
    made = anonymous.post("/auth/signup", account.form())
    assert made.status_code == 201
    assert made.json()["username"] == account.username
    assert made.json()["email"] == account.email
    token = anonymous.post(
        "/auth/login", {"email": account.email.upper(), "password": account.password}
    ).json()
    assert token["token_type"] == "Bearer"
    assert token["expires_in"] == 3600
    assert Api(anonymous.base_url, anonymous.contract, token["token"]).get("/tasks").json() == []


@pytest.mark.parametrize(("changes", "expected"), BAD_FIELDS)
def test_signup_names_each_field_that_is_wrong(
    anonymous: Api,
    new_account: NewAccount,
    changes: dict[str, object],
    expected: set[tuple[str, str | None]],
) -> None:
    response = anonymous.post("/auth/signup", new_account().form(**changes))
    assert response.status_code == 400
    problem = response.json()
    assert problem["code"] == "invalid_body"
    errors = {(error["field"], error["code"]) for error in problem["errors"]}
    for field, code in expected:
        assert any(field == name and code in (None, given) for name, given in errors), errors
    assert {field for field, _ in errors} == {field for field, _ in expected}


@pytest.mark.parametrize("field", ["username", "email", "password", "password_2"])
def test_signup_wants_every_field(anonymous: Api, new_account: NewAccount, field: str) -> None:
    form = new_account().form()
    del form[field]
    problem = anonymous.post("/auth/signup", form).json()
    assert (problem["status"], problem["code"]) == (400, "invalid_body")
    assert {"field": field, "code": "missing"}.items() <= problem["errors"][0].items()


@pytest.mark.parametrize(
    ("field", "code"), [("username", "username_taken"), ("email", "email_taken")]
)
def test_signup_refuses_what_is_taken_in_another_case(
    anonymous: Api, new_account: NewAccount, field: str, code: str
) -> None:
    first, second = new_account(), new_account()
    assert anonymous.post("/auth/signup", first.form()).status_code == 201
    response = anonymous.post(
        "/auth/signup", second.form(**{field: str(first.form()[field]).upper()})
    )
    assert (response.status_code, response.json()["code"]) == (409, code)


def test_parallel_signups_with_one_email_make_one_account(
    anonymous: Api, new_account: NewAccount
) -> None:
    email = new_account().email
    forms = [new_account().form(email=email) for _ in range(12)]
    with ThreadPoolExecutor(len(forms)) as pool:
        statuses = Counter(
            pool.map(lambda form: anonymous.post("/auth/signup", form).status_code, forms)
        )
    assert statuses == {201: 1, 409: len(forms) - 1}


def test_wrong_email_and_wrong_password_get_the_same_answer(
    anonymous: Api, new_account: NewAccount
) -> None:
    account, other = new_account(), new_account()
    assert anonymous.post("/auth/signup", account.form()).status_code == 201
    answers = [
        anonymous.post(
            "/auth/login", {"email": email, "password": "Analytical2"}, request_id="e2e-same-answer"
        )
        for email in (account.email, other.email)
    ]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].json()["code"] == "bad_credentials"
    assert answers[0].content == answers[1].content


@pytest.mark.parametrize(
    "body",
    [{}, {"email": "a@example.com"}, {"password": "Analytical1"}, {"email": 1, "password": 2}],
)
def test_login_requires_both_fields(anonymous: Api, body: dict[str, object]) -> None:
    response = anonymous.post("/auth/login", body)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_body")


def forged_tokens(token: str) -> dict[str, str]:
    """Return invalid tokens that look like a valid one."""
    claims = jwt.decode(token, options={"verify_signature": False})
    head, body, signature = token.split(".")
    other = (
        base64.urlsafe_b64encode(json.dumps({**claims, "sub": "1", "user_id": 1}).encode())
        .rstrip(b"=")
        .decode()
    )
    return {
        "garbage": "garbage",
        "three dots": "a.b.c",
        "alg none": jwt.encode(claims, "", algorithm="none"),
        "symmetric": jwt.encode(
            claims, "a-secret-that-the-server-does-not-have", algorithm="HS256"
        ),
        "another key": jwt.encode(claims, Ed25519PrivateKey.generate(), algorithm="EdDSA"),
        "another body": f"{head}.{other}.{signature}",
        "no signature": f"{head}.{body}.",
    }


@pytest.mark.parametrize(
    "kind",
    [
        "garbage",
        "three dots",
        "alg none",
        "symmetric",
        "another key",
        "another body",
        "no signature",
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/tasks"), ("POST", "/tasks"), ("DELETE", "/tasks/1")]
)
def test_forged_tokens_are_refused(
    api: Api, anonymous: Api, kind: str, method: str, path: str
) -> None:
    forged = forged_tokens(api.token or "")[kind]
    response = anonymous.call(method, path, headers={"Authorization": f"Bearer {forged}"})
    assert (response.status_code, response.json()["code"]) == (401, "token_invalid")
    assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}]
)
@pytest.mark.parametrize("path", ["/tasks", "/tasks/1", "/tasks/1/parts/0"])
def test_no_token(anonymous: Api, path: str, headers: dict[str, str]) -> None:
    response = anonymous.get(path, headers=headers)
    assert (response.status_code, response.json()["code"]) == (401, "token_missing")
    assert response.headers["WWW-Authenticate"] == "Bearer"
