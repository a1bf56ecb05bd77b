"""The page's cookie: nginx makes a token of it, for calls of the page itself alone."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from idrl_testing.waiting import LIMIT_S

if TYPE_CHECKING:
    from conftest import Edge, StartEdge

SESSION = "eyJ.a-b_c.d"


def send(edge: "Edge", method: str, **headers: str) -> requests.Response:
    sent_headers = {"Cookie": f"theme=dark; idrl={SESSION}", **headers}
    return requests.request(method, f"{edge.url}/tasks", headers=sent_headers, timeout=LIMIT_S)


def test_cookie_becomes_the_token(edge: "Edge") -> None:
    assert send(edge, "GET").ok
    assert edge.web.last["headers"]["authorization"] == f"Bearer {SESSION}"


def test_header_wins(edge: "Edge") -> None:
    assert send(edge, "POST", Authorization="Bearer mine").ok
    assert edge.web.last["headers"]["authorization"] == "Bearer mine"


@pytest.mark.parametrize("cookie", ["other=1", "xidrl=abc", "idrl=", "__Host-idrl=abc", ""])
def test_other_cookies_are_no_token(edge: "Edge", cookie: str) -> None:
    """Nor is the one for TLS over plain HTTP."""
    assert send(edge, "GET", Cookie=cookie).ok
    assert "authorization" not in edge.web.last["headers"]


@pytest.mark.parametrize(
    ("cookie", "token"),
    [
        ("x=1 {name}=theirs", None),
        ("x=1; y= {name}=theirs", None),
        ("{name}=mine; x=1 {name}=theirs", "mine"),
        ("x=1 {name}=theirs; {name}=mine", "mine"),
        ('{name}=mine; x="1, {name}=theirs"', "mine"),
        ("a=1;{name}=mine", "mine"),
        ("a=1;   {name}=mine; b=2", "mine"),
        ("; " * 2000 + "{name}=mine", "mine"),
        (";  " * 2000, None),
    ],
)
@pytest.mark.parametrize("has_tls", [False, True])
def test_value_of_another_cookie_is_no_token(
    start_edge: "StartEdge",
    certificate: tuple[Path, Path],
    cookie: str,
    token: str | None,
    has_tls: bool,
) -> None:
    """Other hosts of the domain may set values, but no cookie with the prefix `__Host-`."""
    edge = start_edge(certificate=certificate) if has_tls else start_edge()
    name = "__Host-idrl" if has_tls else "idrl"
    url = f"https://localhost:{edge.port}" if has_tls else edge.url
    headers = {"Cookie": cookie.format(name=name)}
    assert requests.get(
        f"{url}/tasks", headers=headers, timeout=LIMIT_S, verify=str(certificate[0])
    ).ok
    expected = token and f"Bearer {token}"
    assert edge.web.last["headers"].get("authorization") == expected


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "SELF"},
    ],
)
def test_calls_of_other_sites_are_refused(
    edge: "Edge", method: str, headers: dict[str, str]
) -> None:
    sent_headers = {name: value.replace("SELF", edge.url) for name, value in headers.items()}
    seen = len(edge.web.requests)
    response = send(edge, method, **sent_headers)
    assert (response.status_code, response.json()["code"]) == (403, "cross_site")
    assert response.headers["Content-Type"] == "application/problem+json"
    assert len(edge.web.requests) == seen


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "SELF"}])
def test_calls_of_the_page_pass(edge: "Edge", headers: dict[str, str]) -> None:
    """Over plain HTTP, but for this machine's own address, browsers send no Sec-Fetch-Site."""
    sent_headers = {name: value.replace("SELF", edge.url) for name, value in headers.items()}
    assert send(edge, "POST", **sent_headers).ok
    assert edge.web.last["headers"]["authorization"] == f"Bearer {SESSION}"


def test_callers_without_the_cookie_use_their_own_token(edge: "Edge") -> None:
    """Scripts and old callers send neither cookie nor Origin."""
    headers = {"Authorization": "Bearer mine"}
    assert requests.post(f"{edge.url}/tasks", headers=headers, timeout=LIMIT_S).ok
