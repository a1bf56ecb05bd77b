"""What nginx adds: limits for each address, headers, TLS, and what it keeps from the outside."""

import contextlib
import http.client
import json
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest
import requests

from idrl_local import servers
from idrl_testing.processes import running
from idrl_testing.waiting import LIMIT_S, wait_until

if TYPE_CHECKING:
    from conftest import Edge, StandIn, StartEdge, StartService, _Handler

HALF_OPEN = 2500
OTHER_ADDRESS = "127.0.0.2"
# Longer than a test takes, so that nginx keeps what is open until it ends.
KEEP_HALF_OPEN = {"client_header_timeout 5s;": "client_header_timeout 900s;"}
KEEP_SLOW_BODIES = {"client_body_timeout 10s;": "client_body_timeout 900s;"}
KEEP_SLOW_ANSWERS = {"proxy_read_timeout 14s;": "proxy_read_timeout 900s;"}


def call(edge: "Edge", path: str, address: str = "127.0.0.1") -> http.client.HTTPResponse:
    """Return the answer to a GET from this address, its body read."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", edge.port, timeout=LIMIT_S, source_address=(address, 0)
    )
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer


@pytest.mark.usefixtures("many_files")
def test_half_open_connections_leave_room_for_other_addresses(start_edge: "StartEdge") -> None:
    edge = start_edge(replaced=KEEP_HALF_OPEN)
    with contextlib.ExitStack() as stack:
        half_open = [stack.enter_context(half_open_request(edge)) for _ in range(HALF_OPEN)]
        for _ in range(20):
            assert call(edge, "/tasks", OTHER_ADDRESS).status == 200
        for connection in half_open:
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(1)  # none had to end for the calls


def test_half_open_request_is_hung_up_on(edge: "Edge") -> None:
    with half_open_request(edge) as slow, contextlib.suppress(ConnectionResetError):
        slow.settimeout(LIMIT_S)
        assert slow.recv(1) == b""  # without an answer


def half_open_request(edge: "Edge") -> socket.socket:
    """Return a connection on which the headers of a request have begun."""
    connection = socket.create_connection(("127.0.0.1", edge.port), timeout=LIMIT_S)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    return connection


def test_concurrent_requests_of_one_address_are_limited(start_edge: "StartEdge") -> None:
    edge = start_edge(CONN_LIMIT="3", replaced=KEEP_SLOW_ANSWERS)
    with ThreadPoolExecutor(3) as pool:
        slow = [pool.submit(call, edge, "/slow") for _ in range(3)]
        wait_for_requests(edge.web, 3)
        refused = requests.get(f"{edge.url}/tasks", timeout=LIMIT_S)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.headers["RateLimit-Policy"] == '"address-connections";q=3'
        assert refused.headers["RateLimit"] == '"address-connections";r=0'
        assert call(edge, "/tasks", OTHER_ADDRESS).status == 200
        edge.web.release.set()
        assert [future.result().status for future in slow] == [200, 200, 200]
    assert call(edge, "/tasks").status == 200


def test_slow_bodies_count_as_concurrent_requests(start_edge: "StartEdge") -> None:
    edge = start_edge(CONN_LIMIT="3", replaced=KEEP_SLOW_BODIES)
    with slow_bodies(edge, 3, "POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 10", b"ab"):
        assert call(edge, "/tasks").status == 429
        assert call(edge, "/tasks", OTHER_ADDRESS).status == 200


@contextlib.contextmanager
def slow_bodies(edge: "Edge", count: int, head: str, begun: bytes) -> Iterator[None]:
    """Have begun so many bodies, all of which nginx has counted."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            slow = socket.create_connection(("127.0.0.1", edge.port), timeout=LIMIT_S)
            stack.enter_context(slow).sendall(f"{head}\r\nExpect: 100-continue\r\n\r\n".encode())
            # nginx asks for a body once it has counted the request.
            with slow.makefile("rb") as answer:
                assert answer.readline().split()[1] == b"100"
            slow.sendall(begun)
        yield


@pytest.mark.parametrize("path", ["/batches", "/tasks", "/brands", "/auth/login"])
@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_large_bodies_of_one_address_are_limited(
    start_edge: "StartEdge", path: str, framing: str
) -> None:
    """nginx keeps each of them on the disk until its last byte, also without an account."""
    edge, body = start_edge(BODY_LIMIT="2", replaced=KEEP_SLOW_BODIES), bytes(100_000)

    def status(address: str, method: str, path: str, body: bytes) -> int:
        connection = http.client.HTTPConnection(
            "127.0.0.1", edge.port, timeout=LIMIT_S, source_address=(address, 0)
        )
        with contextlib.closing(connection):
            connection.request(method, path, body)
            return connection.getresponse().status

    begun = (b"186a0\r\n" if "chunked" in framing else b"") + body[:-10]
    with slow_bodies(edge, 2, f"POST {path} HTTP/1.1\r\nHost: x\r\n{framing}", begun):
        refused = requests.post(edge.url + path, data=body, timeout=LIMIT_S)
        assert refused.json()["code"] == "too_many_requests"
        assert refused.headers["RateLimit-Policy"] == '"address-connections";q=2'
        assert status("127.0.0.1", "POST", path, bytes(60_000)) == 200
        assert status("127.0.0.1", "PATCH", "/uploads/7", body) == 200
        assert status(OTHER_ADDRESS, "POST", path, body) == 200
    wait_until(lambda: status("127.0.0.1", "POST", path, body) == 200)


def test_bodies_and_answers_are_kept_on_the_disk_of_the_clips(edge: "Edge") -> None:
    """A container's other temporary folders are in 64 MiB of memory: a few senders filled them."""
    folders = {path.name for path in edge.folder.iterdir() if path.is_dir()}
    assert {"clips-bodies", "clips-answers"} <= folders
    assert not {"body", "proxy"} & folders


@pytest.mark.parametrize("path", ["/tasks?max=1000", "/tasks/7", "/s/a.b.c"])
def test_slow_reader_of_a_long_document_keeps_no_thread(
    start_edge: "StartEdge", start_service: "StartService", path: str
) -> None:
    """Sixteen readers of a list of 10 MB occupied all threads of the tasks service."""
    web, outcomes = start_service("web"), SimpleQueue[str]()

    def answer(handler: "_Handler") -> None:
        # More than all the sockets' buffers between the web app and its caller hold.
        body = bytes(48 * 1024 * 1024)
        try:
            handler.send(200, {"Content-Type": "application/json"}, body)
        except OSError:  # nginx hangs up on a caller who has not read for 30 s
            outcomes.put("kept until the end")
        else:
            outcomes.put("free")

    web.answer = answer
    edge = start_edge(web=web)
    with socket.create_connection(("127.0.0.1", edge.port), timeout=LIMIT_S) as slow:
        slow.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert outcomes.get(timeout=LIMIT_S) == "free"


@pytest.mark.parametrize("path", ["/tasks", "/auth/login", "/tasks/7/parts/0", "/health"])
def test_rate_limit_of_one_address_covers_every_path(start_edge: "StartEdge", path: str) -> None:
    edge = start_edge(API_RATE="1r/m", API_BURST="2")
    assert [call(edge, path).status for _ in range(5)] == [200, 200, 200, 429, 429]
    assert call(edge, path, OTHER_ADDRESS).status == 200


@pytest.mark.parametrize(
    ("path", "rates", "policy", "wait_s"),
    [
        ("/tasks", {"API_RATE": "1r/s", "API_BURST": "1"}, '"address-requests";q=1;w=1', 1),
        ("/tasks", {"API_RATE": "5r/m", "API_BURST": "1"}, '"address-requests";q=5;w=60', 12),
        ("/tasks", {"API_RATE": "90r/m", "API_BURST": "1"}, '"address-requests";q=90;w=60', 1),
        ("/auth/login", {"API_RATE": "1r/s", "API_BURST": "1"}, '"address-requests";q=1;w=1', 1),
        ("/auth/login", {"AUTH_RATE": "1r/s", "AUTH_BURST": "1"}, '"address-auth";q=1;w=1', 1),
        ("/auth/login", {"AUTH_RATE": "7r/m", "AUTH_BURST": "1"}, '"address-auth";q=7;w=60', 10),
        ("/auth/login", {"AUTH_RATE": "20r/m", "AUTH_BURST": "1"}, '"address-auth";q=20;w=60', 3),
    ],
)
def test_429_has_the_rate_limit_of_an_address(
    start_edge: "StartEdge", path: str, rates: dict[str, str], policy: str, wait_s: int
) -> None:
    edge = start_edge(**rates)
    answers: dict[int, http.client.HTTPResponse] = {}

    def are_both_there() -> bool:
        answer = call(edge, path)
        answers[answer.status] = answer
        return answers.keys() == {200, 429}

    wait_until(are_both_there, poll_s=0)  # on a busy machine a few calls may keep to the rate
    accepted, refused = answers[200], answers[429]
    assert accepted.headers["RateLimit-Policy"] is None
    assert refused.headers["RateLimit-Policy"] == policy
    assert refused.headers["RateLimit"] == f"{policy.partition(';')[0]};r=0;t={wait_s}"
    assert refused.headers["Retry-After"] == str(wait_s)
    missing = call(edge, "/_problem", OTHER_ADDRESS)
    assert (missing.status, missing.headers["RateLimit"]) == (404, None)


def wait_for_requests(service: "StandIn", number: int) -> None:
    wait_until(lambda: len(service.requests) >= number)


@pytest.mark.parametrize(
    "path",
    [
        *("/metrics", "//metrics", "/%6detrics", "/x/../metrics", "/metrics?x", "/./metrics"),
        # The app takes these for the same address.
        *("/metrics/", "/metrics//", "/metrics/?x", "/metrics/./", "/%6detrics%2f"),
    ],
)
def test_metrics_are_not_public(edge: "Edge", path: str) -> None:
    raw = edge.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert raw.startswith(b"HTTP/1.1 404")
    assert b'"code":"not_found"' in raw
    assert edge.web.requests == []


def test_metrics_for_allowed_networks(start_edge: "StartEdge") -> None:
    edge = start_edge(METRICS_ALLOWED="allow 127.0.0.2; allow 10.0.0.0/8;")
    assert call(edge, "/metrics").status == 404
    assert edge.web.requests == []
    assert call(edge, "/metrics", OTHER_ADDRESS).status == 200


@pytest.mark.parametrize("path", ["/tasks", "/tasks/7/parts/0", "/tasks/7/parts/404", "/metrics"])
def test_security_headers_on_every_response(edge: "Edge", path: str) -> None:
    headers = requests.get(edge.url + path, timeout=LIMIT_S).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "Strict-Transport-Security" not in headers
    is_clip = path.endswith("/parts/0")
    assert headers["Cache-Control"] == ("private, no-cache" if is_clip else "no-store")


def test_csp_allows_scripts_for_docs_alone(edge: "Edge") -> None:
    for path, may in (
        ("/docs/", True),
        ("/docs", True),
        ("/docs2", False),
        ("/tasks?/docs", False),
    ):
        policy = requests.get(edge.url + path, timeout=LIMIT_S).headers["Content-Security-Policy"]
        assert ("script-src" in policy) is may


def test_headers_of_the_app_are_not_duplicated(edge: "Edge") -> None:
    def page(handler: "_Handler") -> None:
        own = {"Content-Security-Policy": "script-src 'self'", "Cache-Control": "max-age=60"}
        handler.send(200, {**own, "X-Content-Type-Options": "nosniff"}, b"page")

    edge.web.answer = page
    raw = edge.raw(b"GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").decode().lower()
    assert raw.count("content-security-policy:") == raw.count("cache-control:") == 1
    assert raw.count("x-content-type-options:") == 1
    assert "script-src 'self'" in raw
    assert "max-age=60" in raw


@pytest.mark.parametrize("sha256", ["", "a" * 64])
@pytest.mark.parametrize("target", ["/auth/login", "/_clips/x", "/tasks/8/parts/0"])
def test_x_accel_headers_of_the_tasks_service_are_ignored(
    edge: "Edge", sha256: str, target: str
) -> None:
    edge.web.sha256 = edge.tasks.sha256 = sha256
    edge.tasks.answer = lambda handler: handler.clip(
        **{"X-Accel-Redirect": target, "X-Accel-Limit-Rate": "1", "X-Accel-Expires": "1"}
    )
    answer = requests.get(f"{edge.url}/tasks/7/parts/0", timeout=LIMIT_S)
    assert answer.status_code == 200
    assert len(answer.content) == 8 * 1024 * 1024
    assert [request["path"] for request in edge.web.requests] == ["/tasks/7/parts/0"]


@pytest.fixture
def before_gunicorn(start_edge: "StartEdge", tmp_path: Path) -> Iterator["Edge"]:
    """An nginx before a gunicorn as the web app has it, with an app that must not be called."""
    port = servers.free_port()
    (tmp_path / "app.py").write_text("def app(environ, start):\n    raise SystemExit(1)\n")
    command = ["gunicorn", "app:app", "--config", "python:idrl_common.gunicorn_conf"]
    command += ["--bind", f"127.0.0.1:{port}", "--chdir", str(tmp_path)]
    upstreams = (
        f"upstream web {{ server 127.0.0.1:{port}; }} upstream tasks {{ server 127.0.0.1:1; }}"
    )
    with running([sys.executable, "-m", *command], tmp_path / "log") as process:
        servers.wait_for_port(port, process)
        yield start_edge(NGINX_UPSTREAMS=upstreams, replaced=KEEP_SLOW_ANSWERS)


def test_control_byte_in_a_header_is_a_problem(before_gunicorn: "Edge") -> None:
    """gunicorn refuses what nginx lets through, and its own answer is HTML."""
    for byte in (b"\x01", b"\x08", b"\x0b", b"\x7f", b"\x00"):
        for line in (b"X-A: a%sb", b"Authorization: Bearer %s"):
            head = b"GET /tasks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            raw = before_gunicorn.raw(head + line.replace(b"%s", byte) + b"\r\n\r\n")
            head, _, body = raw.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400")
            assert b"application/problem+json" in head
            problem = json.loads(body)
            assert problem["code"] == "bad_request"
            assert f"x-request-id: {problem['request_id']}" in head.decode().lower()


def test_problem_locations_are_not_public(edge: "Edge") -> None:
    for path in ("/_bad_request", "/_problem"):
        assert call(edge, path).status == 404
    assert edge.web.requests == []
