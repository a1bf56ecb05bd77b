"""Clips that nginx sends: the gateway says which, once the tasks service has allowed it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import jwt
import pytest
from flask import Flask
from flask.testing import FlaskClient

from idrl_local import servers
from idrl_testing.waiting import LIMIT_S
from web_server import gateway
from web_testing import CLIP, assert_problem

if TYPE_CHECKING:
    from conftest import Exchange, Keys, MakeApp, TasksStandIn

SHA256 = "a" * 64


@pytest.fixture
def behind_nginx(make_app: MakeApp) -> Flask:
    return make_app(accel_redirect=True, clip_cache_size="0")


@pytest.fixture
def caching(make_app: MakeApp) -> FlaskClient:
    return make_app(accel_redirect=True).test_client()


def responding(status: int, **headers: str) -> Callable[[Exchange], None]:
    """Answer as the tasks service answers HEAD: with a length and no body."""

    def answer(exchange: Exchange) -> None:
        exchange.send_response(status)
        for name, value in {"ETag": f'"{SHA256}"', **headers}.items():
            exchange.send_header(name, value)
        exchange.end_headers()

    return answer


def test_ranges_are_read_in_linear_time() -> None:
    code = "from web_server import ranges; ranges._RANGE.fullmatch('bytes=' + ' ' * 10**6 + 'x')"
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


@pytest.mark.parametrize("status", [200, 206])
def test_authorized_clip_is_cached_by_its_sha256(
    caching: FlaskClient, tasks: TasksStandIn, headers: dict[str, str], status: int
) -> None:
    tasks.answer = responding(status, **{"Content-Length": "1000"})
    conditions = {
        "Range": "bytes=0-3",
        "If-Range": '"x"',
        "If-None-Match": '"y"',
        "If-Match": f'"{SHA256}"',
    }
    answer = caching.get(f"{CLIP}?x=1", headers={**headers, **conditions})
    assert (answer.status_code, answer.data) == (200, b"")
    assert answer.headers["X-Accel-Redirect"] == f"/_clips/{SHA256}{CLIP}"
    assert "Content-Type" not in answer.headers
    assert answer.headers.get("Accept-Ranges") == ("bytes" if status == 206 else None)
    [seen] = tasks.seen
    assert (seen.method, seen.target) == ("HEAD", CLIP)
    assert {name: seen.headers[name] for name in conditions} == conditions
    assert seen.headers["Authorization"] == headers["Authorization"]


@pytest.mark.parametrize(
    ("range_header", "place"),
    [
        ("bytes=0-9", "_clips"),
        ("bytes=-9", "_clips"),
        ("Bytes= 9-", "_clips"),
        ("bytes=\t0-9", "_tasks"),
        ("bytes=0\t-9", "_tasks"),
        ("bytes=0-" + "9" * 18, "_clips"),
        ("bytes=0-18446744073709551615", "_tasks"),
        ("bytes=-" + "9" * 19, "_tasks"),
        ("bytes=0-9,20-29", "_tasks"),
        ("bytes=0-9,", "_tasks"),
        ("items=0-9", "_clips"),
    ],
)
def test_range_that_nginx_reads_otherwise_bypasses_the_cache(
    caching: FlaskClient,
    tasks: TasksStandIn,
    headers: dict[str, str],
    range_header: str,
    place: str,
) -> None:
    """It refuses numbers beyond 63 bits, and answers several ranges as multipart/byteranges."""
    tasks.answer = responding(200, **{"Content-Length": "1000"})
    answer = caching.get(CLIP, headers={**headers, "Range": range_header})
    assert answer.headers["X-Accel-Redirect"].split("/")[1] == place


@pytest.mark.parametrize("date", ["Mon, 01 Jan 2001 00:00:00 GMT", "yesterday"])
@pytest.mark.parametrize("other", [{}, {"If-Match": f'"{SHA256}"'}, {"Range": "bytes=0-9"}])
def test_date_that_nginx_reads_otherwise_bypasses_the_cache(
    caching: FlaskClient,
    tasks: TasksStandIn,
    headers: dict[str, str],
    date: str,
    other: dict[str, str],
) -> None:
    """Beside If-Match it must be ignored, as an invalid date is (RFC 9110 §13.1.4)."""
    tasks.answer = responding(200, **{"Content-Length": "1000"})
    answer = caching.get(CLIP, headers={**headers, **other, "If-Unmodified-Since": date})
    assert answer.headers["X-Accel-Redirect"] == f"/_tasks{CLIP}"


@pytest.mark.parametrize(
    ("conditions", "place"),
    [
        ({"If-Match": ""}, "_tasks"),
        ({"If-Match": SHA256}, "_tasks"),
        ({"If-Match": f'"x",, "{SHA256}"'}, "_tasks"),
        ({"If-Match": "*"}, "_clips"),
        ({"If-Match": f'W/"x" , "{SHA256}"'}, "_clips"),
        ({"If-Range": SHA256}, "_tasks"),
        ({"If-Range": ""}, "_tasks"),
        ({"If-Range": "Friday, 02-Jan-26 03:04:05 GMT"}, "_tasks"),
        ({"If-Range": "Fri, 02 Jan 2026 03:04:05 GMT"}, "_clips"),
        ({"If-Range": f'"{SHA256}"'}, "_clips"),
        ({"If-Range": f'W/"{SHA256}"'}, "_clips"),
    ],
)
def test_condition_that_nginx_reads_otherwise_bypasses_the_cache(
    caching: FlaskClient,
    tasks: TasksStandIn,
    headers: dict[str, str],
    conditions: dict[str, str],
    place: str,
) -> None:
    """nginx refuses an empty If-Match, and matches no tag without quotes."""
    tasks.answer = responding(200, **{"Content-Length": "1000"})
    answer = caching.get(CLIP, headers={**headers, "Range": "bytes=0-9", **conditions})
    assert answer.headers["X-Accel-Redirect"].split("/")[1] == place


def test_name_of_a_clip_comes_with_the_check(
    caching: FlaskClient, tasks: TasksStandIn, headers: dict[str, str]
) -> None:
    """nginx's cache may have the clip from before the task was renamed."""
    name = "attachment; filename=\"a_01.mp4\"; filename*=UTF-8''%C3%A9%2001.mp4"
    tasks.answer = responding(200, **{"Content-Length": "1000", "Content-Disposition": name})
    assert caching.get(CLIP, headers=headers).headers["Content-Disposition"] == name


@pytest.mark.parametrize("status", [401, 404, 409, 412, 416, 500, 503])
def test_refused_clip_bypasses_the_cache(
    caching: FlaskClient, tasks: TasksStandIn, headers: dict[str, str], status: int
) -> None:
    """Why not, the tasks service tells nginx, whatever is kept there."""
    tasks.answer = responding(status, **{"Content-Length": "1000"})
    assert caching.get(CLIP, headers=headers).headers["X-Accel-Redirect"] == f"/_tasks{CLIP}"


@pytest.mark.parametrize(
    "tag", ["", "x", f'W/"{SHA256}"', '"' + "A" * 64 + '"', '"' + "a" * 63 + '/"']
)
def test_clip_without_a_sha256_tag_bypasses_the_cache(
    caching: FlaskClient, tasks: TasksStandIn, headers: dict[str, str], tag: str
) -> None:
    tasks.answer = responding(200, **{"Content-Length": "1000", "ETag": tag})
    assert caching.get(CLIP, headers=headers).headers["X-Accel-Redirect"] == f"/_tasks{CLIP}"


_TASK = "6f0d0b57-3c1e-4c39-9a55-0d9f0a1b2c3d"


@pytest.mark.parametrize(
    "task", [_TASK, _TASK.upper(), _TASK.replace("-", ""), f"%7B{_TASK}%7D", f"urn:uuid:{_TASK}"]
)
@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("parts/7", "parts/7"),
        ("parts/7/", "parts/7"),
        ("/parts//007///", "parts/7"),
        ("parts/7/poster.jpg/", "parts/7/poster.jpg"),
        ("clips.zip/", "clips.zip"),
        ("contact-sheet.jpg//", "contact-sheet.jpg"),
    ],
)
def test_nginx_sends_a_file_however_its_address_is_written(
    caching: FlaskClient,
    tasks: TasksStandIn,
    headers: dict[str, str],
    task: str,
    path: str,
    sent: str,
) -> None:
    """Else a slow reader takes a thread of the web app for as long as the file lasts."""
    tasks.answer = responding(200, **{"Content-Length": "1000"})
    to_nginx = caching.get(f"/tasks/{task}/{path}", headers=headers).headers["X-Accel-Redirect"]
    assert to_nginx.endswith(f"/tasks/{_TASK}/{sent}")


def test_number_of_a_part_has_ascii_digits(
    caching: FlaskClient, tasks: TasksStandIn, headers: dict[str, str]
) -> None:
    """The tasks service is called as the address has it, and refuses it."""
    answer = caching.get(f"/tasks/{_TASK}/parts/%D9%A7", headers=headers)
    assert "X-Accel-Redirect" not in answer.headers
    assert [seen.target for seen in tasks.seen] == [f"/tasks/{_TASK}/parts/%D9%A7"]


def test_response_without_a_body_is_sent_by_the_web_app(
    caching: FlaskClient, tasks: TasksStandIn, headers: dict[str, str]
) -> None:
    tasks.answer = responding(304)
    answer = caching.get(CLIP, headers={**headers, "If-None-Match": f'"{SHA256}"'})
    assert (answer.status_code, answer.data, answer.headers["ETag"]) == (304, b"", f'"{SHA256}"')
    tasks.answer = responding(
        404, **{"Content-Length": "70", "Content-Type": "application/problem+json"}
    )
    answer = caching.head(CLIP, headers=headers)
    assert (answer.status_code, answer.data, answer.content_type) == (
        404,
        b"",
        "application/problem+json",
    )
    assert "X-Accel-Redirect" not in answer.headers
    assert len(tasks.seen) == 2


def test_authorization_requests_reuse_the_connection(
    caching: FlaskClient, tasks: TasksStandIn, headers: dict[str, str]
) -> None:
    ports = []

    def note(exchange: Exchange) -> None:
        ports.append(exchange.client_address[1])
        responding(200, **{"Content-Length": "1000"})(exchange)

    tasks.answer = note
    for _ in range(3):
        assert caching.get(CLIP, headers=headers).status_code == 200
    assert len(set(ports)) == 1


def test_cache_is_bypassed_when_space_is_low(
    caching: FlaskClient,
    tasks: TasksStandIn,
    headers: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway, "_RESERVED_BYTES", 1 << 62)
    assert caching.get(CLIP, headers=headers).headers["X-Accel-Redirect"] == f"/_tasks{CLIP}"
    assert tasks.seen == []


def test_cache_is_not_used_without_the_tasks_service(
    make_app: MakeApp, headers: dict[str, str]
) -> None:
    unavailable = make_app(
        accel_redirect=True, tasks_url=f"http://127.0.0.1:{servers.free_port()}"
    ).test_client()
    answer = unavailable.get(CLIP, headers=headers)
    assert_problem(answer, 502, "tasks_unavailable")
    assert "X-Accel-Redirect" not in answer.headers


def test_authorization_of_a_clip_leaves_nginx_time_to_fetch_it(
    make_app: MakeApp,
    tasks: TasksStandIn,
    headers: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other calls wait for TASKS_TIMEOUT_S."""
    release = threading.Event()

    def hang(exchange: Exchange) -> None:
        release.wait(LIMIT_S)
        exchange.respond(200)

    tasks.answer = hang
    monkeypatch.setattr(gateway, "_CHECK_TIMEOUT_S", 0.3)
    caching = make_app(accel_redirect=True, tasks_timeout_s=LIMIT_S).test_client()
    try:
        assert_problem(caching.get(CLIP, headers=headers), 504, "tasks_timeout")
    finally:
        release.set()


@pytest.mark.parametrize(
    ("seconds_left", "code"), [(-3600, "token_expired"), (None, "token_invalid")]
)
def test_clip_with_a_bad_token_is_refused_by_the_web_app(
    caching: FlaskClient, tasks: TasksStandIn, keys: Keys, seconds_left: int | None, code: str
) -> None:
    now = int(time.time())
    claims = {
        "sub": "1",
        "user_id": 1,
        "iss": "idrl",
        "aud": "idrl",
        "iat": now - 7200,
        "exp": now + (seconds_left or 0),
    }
    token = jwt.encode(claims, keys.private, "EdDSA") if seconds_left else "x"
    answer = caching.get(CLIP, headers={"Authorization": f"Bearer {token}"})
    assert_problem(answer, 401, code)
    assert tasks.seen == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_nginx_fetches_the_clip(
    behind_nginx: Flask, tasks: TasksStandIn, headers: dict[str, str], method: str
) -> None:
    answer = behind_nginx.test_client().open(CLIP, method=method, headers=headers)
    assert (answer.status_code, answer.data) == (200, b"")
    assert answer.headers["X-Accel-Redirect"] == f"/_tasks{CLIP}"
    assert "Content-Type" not in answer.headers
    assert tasks.seen == []


def test_nginx_fetches_nothing_without_a_token(behind_nginx: Flask) -> None:
    answer = behind_nginx.test_client().get(CLIP)
    assert_problem(answer, 401, "token_missing")
    assert "X-Accel-Redirect" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", CLIP),
        ("GET", "/tasks"),
        ("GET", "/tasks/1"),
        ("GET", "/tasks/1/parts/x"),
        ("GET", f"{CLIP}/more"),
    ],
)
def test_other_responses_pass_through_the_web_app(
    behind_nginx: Flask, tasks: TasksStandIn, headers: dict[str, str], method: str, path: str
) -> None:
    answer = behind_nginx.test_client().open(path, method=method, headers=headers)
    assert "X-Accel-Redirect" not in answer.headers
    assert [seen.target for seen in tasks.seen] == [path]
