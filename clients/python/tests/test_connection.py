"""Busy, restarting and wrong systems, and what the environment must not change."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import requests

from idrl_client import Client, IdrlError, NotFound, Refused, Unreachable, connection
from idrl_testing import site as web_site
from idrl_testing.clocks import Clock
from idrl_testing.site import Request, Site

USAGE = b'{"live_tasks": 1}'


@pytest.fixture
def system() -> Iterator[Site]:
    """A fake system: a test cannot make the real one answer 429 or 503."""
    with web_site.serve() as site:
        yield site


def problem(status: int, code: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    body = json.dumps({"detail": "A sentence.", "code": code, "status": status}).encode()
    return status, body, {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_busy_system_is_called_again_after_retry_after(system: Site, status: int) -> None:
    def busy_once(request: Request) -> None:
        if request.count == 1:
            request.send(*problem(status, "too_busy", Retry_After="1"))
        else:
            request.send(200, USAGE)

    system.add("usage", answer=busy_once)
    assert Client(system.url, "k").usage() == {"live_tasks": 1}
    assert system.hits["/usage"] == 2


def test_retry_after_beyond_the_patience_is_an_error_at_once(system: Site) -> None:
    answer = problem(503, "storage_full", Retry_After="600")
    system.add("usage", answer=lambda request: request.send(*answer))
    with pytest.raises(Unreachable, match="storage_full"):
        Client(system.url, "k", patience_s=5).usage()
    assert system.hits["/usage"] == 1


def test_retry_after_may_be_a_date(system: Site) -> None:
    """It is compared with the answer's own date: the clocks may differ."""
    dates = {
        "Date": "Wed, 01 Jan 2020 00:00:00 GMT",
        "Retry-After": "Wed, 01 Jan 2020 00:00:02 GMT",
    }
    times_s = []

    def busy_once(request: Request) -> None:
        times_s.append(time.monotonic())
        if request.count == 1:
            send_without_date(request, 503, problem(503, "too_busy")[1], dates)
        else:
            request.send(200, USAGE)

    system.add("usage", answer=busy_once)
    Client(system.url, "k").usage()
    assert 1.9 < times_s[1] - times_s[0] < 10


def send_without_date(request: Request, status: int, body: bytes, headers: dict[str, str]) -> None:
    """Send an answer that has no Date but that of `headers`."""
    request.send_response_only(status)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


@pytest.mark.parametrize(
    "retry_after", ["0", "Wed, 01 Jan 2020 00:00:00 GMT", "soon", "Wed, 99 Jan 2020", ""]
)
def test_busy_system_is_not_called_without_a_pause(
    system: Site, monkeypatch: pytest.MonkeyPatch, retry_after: str
) -> None:
    clock = Clock()
    monkeypatch.setattr(connection, "time", clock)
    answer = problem(503, "too_busy", Retry_After=retry_after)
    system.add("usage", answer=lambda request: request.send(*answer))
    with pytest.raises(Unreachable):
        Client(system.url, "k", patience_s=0.7).usage()
    assert (system.hits["/usage"], clock.now_s) == (2, 0.5)


def test_exceeded_quota_is_not_retried(system: Site) -> None:
    answer = problem(429, "quota_live_tasks", Retry_After="1")
    system.add("usage", answer=lambda request: request.send(*answer))
    with pytest.raises(Refused, match="quota_live_tasks") as refused:
        Client(system.url, "k").usage()
    assert refused.value.code == "quota_live_tasks"
    assert system.hits["/usage"] == 1


@pytest.mark.parametrize("code", ["too_many_brands", "too_many_uploads", "too_many_webhooks"])
def test_limit_that_no_wait_lifts_is_not_retried(system: Site, code: str) -> None:
    """Such a 429 has no Retry-After: sending the files of a brand again would change nothing."""
    answer = problem(429, code)
    system.add("usage", answer=lambda request: request.send(*answer))
    with pytest.raises(Refused, match=code):
        Client(system.url, "k", patience_s=2).usage()
    assert system.hits["/usage"] == 1


@pytest.mark.parametrize(
    ("status", "body", "headers", "expected"),
    [
        (200, b"<html>", {"Content-Type": "text/html"}, "not as idrl does"),
        (404, b"<html>", {"Content-Type": "text/html"}, "not as idrl does"),
        (302, b"", {"Location": "https://b.example/usage"}, "redirects to https://b.example: give"),
        (301, b"", {"Location": "https://b.example/v/usage?a=1"}, "to https://b.example/v: give"),
        (302, b"", {"Location": "/login"}, "not as idrl does"),
        (404, b'{"code": 404, "message": "No route."}', {}, "not as idrl does"),
        (404, b'{"code": "rest_no_route", "data": {}}', {}, "not as idrl does"),
        (400, b'{"code": "a", "detail": "No.", "errors": null}', {}, r"No\. \(a\)"),
        (400, b'{"code": "a", "detail": "No.", "errors": ["b"]}', {}, r"No\. \(a\)"),
    ],
)
def test_address_of_another_service_is_an_error(
    system: Site, status: int, body: bytes, headers: dict[str, str], expected: str
) -> None:
    system.add("usage", answer=lambda request: request.send(status, body, headers))
    with pytest.raises(IdrlError, match=expected):
        Client(system.url, "k").usage()


def test_refused_connection_is_an_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        # Bound, so that no other process gets the port, and not listening.
        with pytest.raises(Unreachable, match="no system answers"):
            Client(url, "k").usage()


def test_netrc_and_proxies_do_not_change_calls_to_this_machine(
    system: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def note(request: Request) -> None:
        seen.append(request.headers["Authorization"])
        request.send(200, USAGE)

    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    system.add("usage", answer=note)
    Client(system.url, "the-key").usage()
    assert seen == ["Bearer the-key"]


@pytest.mark.parametrize("path", ["tasks/a", "brands/a"])
def test_deletion_whose_answer_was_lost_is_done(system: Site, path: str) -> None:
    def lose_answer(request: Request) -> None:
        if request.count == 1:
            request.connection.shutdown(socket.SHUT_RDWR)
        else:
            request.send(*problem(404, "task_not_found"))

    system.add("usage", USAGE)
    system.add(path, answer=lose_answer)
    client = Client(system.url, "k")
    client.usage()
    delete = client.delete_task if path.startswith("tasks") else client.delete_brand
    assert delete("a") in ({"task_id": "a", "status": "deleted"}, None)
    assert system.hits[f"/{path}"] == 2


def test_deletion_that_the_gateway_did_not_wait_for_is_done(system: Site) -> None:
    def too_late(request: Request) -> None:
        late = problem(504, "tasks_timeout", Retry_After="1")
        request.send(*(late if request.count == 1 else problem(404, "task_not_found")))

    system.add("tasks/a", answer=too_late)
    assert Client(system.url, "k").delete_task("a") == {"task_id": "a", "status": "deleted"}


def test_call_that_may_have_been_carried_out_is_not_repeated(
    system: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Request, "do_POST", Request.do_GET, raising=False)
    answer = problem(504, "tasks_timeout", Retry_After="1")
    system.add("brands", answer=lambda request: request.send(*answer))
    with pytest.raises(Unreachable, match="tasks_timeout"):
        Client(system.url, "k").create_brand("Race", {})
    assert system.hits["/brands"] == 1


def test_deletion_of_what_was_never_there_is_an_error(system: Site) -> None:
    system.add("tasks/a", answer=lambda request: request.send(*problem(404, "task_not_found")))
    with pytest.raises(NotFound):
        Client(system.url, "k").delete_task("a")


def test_https_address_of_a_system_without_tls(system: Site) -> None:
    """The message was about a certificate that is not trusted."""
    url = system.url.replace("http", "https")
    with pytest.raises(Unreachable, match=f"{url} does not speak TLS: is it {system.url}"):
        Client(url, "k").usage()


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("self-signed certificate", "does not trust: add its authority"),
        ("Hostname mismatch, certificate is not valid for 'a.example'.", "for another name"),
        ("IP address mismatch, certificate is not valid for '10.0.0.1'.", "for another name"),
        ("certificate has expired", "is not valid now: is the clock of this machine right"),
        ("certificate is not yet valid", "is not valid now: is the clock of this machine right"),
    ],
)
def test_certificates_that_are_refused(
    monkeypatch: pytest.MonkeyPatch, reason: str, expected: str
) -> None:
    error = f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {reason} (_ssl.c:1006)"

    def refuse(*_: object, **__: object) -> NoReturn:
        raise requests.exceptions.SSLError(error)

    monkeypatch.setattr(requests.Session, "request", refuse)
    with pytest.raises(Unreachable, match=expected):
        Client("https://a.example", "k").usage()
