"""The page's files, and the cookie that keeps a browser logged in."""

from collections.abc import Callable
from http.cookies import SimpleCookie

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

SignUp = Callable[..., dict[str, str]]
PASSWORD = "Heron-over-42-Lakes"  # of the test's own accounts


def test_browsers_get_the_page_and_callers_the_404_as_ever(client: FlaskClient) -> None:
    page = client.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (page.status_code, page.mimetype) == (200, "text/html")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for accept in ("*/*", "application/json", ""):
        response = client.get("/", headers={"Accept": accept})
        assert (response.status_code, response.get_json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/", "/s/x"])
def test_long_header_is_not_parsed(client: FlaskClient, path: str) -> None:
    """It needs no account, and 8 KiB with blanks took 80 ms; no browser sends so many."""
    browsers = "text/html" + "," * 1000
    assert client.get(path, headers={"Accept": browsers}).mimetype == "text/html"
    answer = client.get(path, headers={"Accept": f"{browsers},,,,,,,,,,,,,,,,"})
    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("app.js", "text/javascript"), ("app.css", "text/css"), ("icon.svg", "image/svg+xml")],
)
def test_files_are_requested_again_by_their_tag(client: FlaskClient, name: str, kind: str) -> None:
    whole = client.get(f"/{name}")
    assert (whole.status_code, whole.mimetype, whole.headers["Cache-Control"]) == (
        200,
        kind,
        "no-cache",
    )
    again = client.get(f"/{name}", headers={"If-None-Match": whole.headers["ETag"]})
    assert again.status_code == 304
    assert client.get("/index.html").status_code == 404


@pytest.fixture
def account(client: FlaskClient) -> dict[str, str]:
    body = {"username": "Ada", "email": "ada@example.com", "password": PASSWORD}
    assert client.post("/auth/signup", json={**body, "password_2": PASSWORD}).status_code == 201
    return {"email": body["email"], "password": PASSWORD}


def cookie_of(response: TestResponse) -> SimpleCookie:
    return SimpleCookie(response.headers.get("Set-Cookie", ""))


def test_cookie_is_set_only_on_request(client: FlaskClient, account: dict[str, str]) -> None:
    assert not cookie_of(client.post("/auth/login", json=account))
    response = client.post("/auth/login", json={**account, "session": True})
    cookie = cookie_of(response)["idrl"]
    assert cookie.value == response.get_json()["token"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    assert not cookie["secure"]
    assert int(cookie["max-age"]) == response.get_json()["expires_in"]


def test_cookie_under_tls(client: FlaskClient, account: dict[str, str]) -> None:
    headers = {"X-Forwarded-Proto": "https"}
    response = client.post("/auth/login", json={**account, "session": True}, headers=headers)
    assert cookie_of(response)["__Host-idrl"]["secure"]


def test_cookie_is_renewed_and_removed(client: FlaskClient, account: dict[str, str]) -> None:
    token = client.post("/auth/login", json={**account, "session": True}).get_json()["token"]
    header = {"Authorization": f"Bearer {token}"}
    renewed = client.post("/auth/refresh", headers=header)
    assert cookie_of(renewed)["idrl"].value == renewed.get_json()["token"]
    removed = client.post("/auth/logout", headers=header)
    assert (removed.status_code, cookie_of(removed)["idrl"].value) == (204, "")


def test_app_itself_takes_no_cookie(client: FlaskClient, account: dict[str, str]) -> None:
    """Only nginx, which checks where the call comes from, makes a header of it."""
    client.post("/auth/login", json={**account, "session": True})
    response = client.get("/me")
    assert (response.status_code, response.get_json()["code"]) == (401, "token_missing")
