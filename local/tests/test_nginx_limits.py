"""What nginx adds: limits for each address, headers, TLS, and what it keeps from the outside."""

import contextlib
import http.client
import json
import resource
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from idrl_local import config, servers
from idrl_testing.processes import running

if TYPE_CHECKING:
    from conftest import Edge, StandIn, StartEdge, StartService, _Handler

HALF_OPEN = 2500
OTHER_ADDRESS = "127.0.0.2"


def call(edge: "Edge", path: str, address: str = "127.0.0.1") -> http.client.HTTPResponse:
    """Return the answer to a GET from this address, its body read."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", edge.port, timeout=10, source_address=(address, 0)
    )
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process have as many connections as the test needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = HALF_OPEN + 500
    assert hard == resource.RLIM_INFINITY or hard >= needed
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_half_open_connections_of_one_address_lock_out_nobody(edge: "Edge") -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(HALF_OPEN):
            slow = socket.create_connection(("127.0.0.1", edge.port), timeout=10)
            stack.enter_context(slow).sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        seconds = []
        for _ in range(20):
            began = time.monotonic()
            assert call(edge, "/tasks", OTHER_ADDRESS).status == 200
            seconds.append(time.monotonic() - began)
        assert max(seconds) < 1
        slow.settimeout(30)
        with contextlib.suppress(ConnectionResetError):
            assert slow.recv(1) == b""  # hung up on, without an answer


def test_requests_of_one_address_at_once_are_limited(start_edge: "StartEdge") -> None:
    edge = start_edge(CONN_LIMIT="3")
    with ThreadPoolExecutor(3) as pool:
        slow = [pool.submit(call, edge, "/slow") for _ in range(3)]
        wait_for_requests(edge.web, 3)
        refused = requests.get(f"{edge.url}/tasks", timeout=5)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert int(refused.headers["Retry-After"]) > 0
        assert call(edge, "/tasks", OTHER_ADDRESS).status == 200
        edge.web.release.set()
        assert [future.result().status for future in slow] == [200, 200, 200]
    assert call(edge, "/tasks").status == 200


def test_slow_bodies_of_one_address_are_limited(start_edge: "StartEdge") -> None:
    edge = start_edge(CONN_LIMIT="3")
    head = b"POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nab"
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            slow = socket.create_connection(("127.0.0.1", edge.port), timeout=10)
            stack.enter_context(slow).sendall(head)
        deadline = time.monotonic() + 10
        while call(edge, "/tasks").status != 429:
            assert time.monotonic() < deadline
        assert call(edge, "/tasks", OTHER_ADDRESS).status == 200


@pytest.mark.parametrize("path", ["/tasks", "/auth/login", "/tasks/7/parts/0", "/health"])
def test_rate_of_one_address_is_limited_everywhere(start_edge: "StartEdge", path: str) -> None:
    edge = start_edge(API_RATE="1r/m", API_BURST="2")
    assert [call(edge, path).status for _ in range(5)] == [200, 200, 200, 429, 429]
    assert call(edge, path, OTHER_ADDRESS).status == 200


def wait_for_requests(service: "StandIn", number: int) -> None:
    deadline = time.monotonic() + 10
    while len(service.requests) < number:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "path", ["/metrics", "//metrics", "/%6detrics", "/x/../metrics", "/metrics?x", "/./metrics"]
)
def test_metrics_are_not_public(edge: "Edge", path: str) -> None:
    raw = edge.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert raw.startswith(b"HTTP/1.1 404")
    assert b'"code":"not_found"' in raw
    assert edge.web.requests == []


def test_metrics_are_for_the_networks_that_the_operator_names(start_edge: "StartEdge") -> None:
    edge = start_edge(METRICS_ALLOWED="allow 127.0.0.2; allow 10.0.0.0/8;")
    assert call(edge, "/metrics").status == 404
    assert edge.web.requests == []
    assert call(edge, "/metrics", OTHER_ADDRESS).status == 200


@pytest.mark.parametrize("path", ["/tasks", "/tasks/7/parts/0", "/tasks/7/parts/404", "/metrics"])
def test_security_headers_are_on_every_answer(edge: "Edge", path: str) -> None:
    headers = requests.get(edge.url + path, timeout=5).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "Strict-Transport-Security" not in headers
    is_clip = path.endswith("/parts/0")
    assert headers["Cache-Control"] == ("private, no-cache" if is_clip else "no-store")


def test_only_the_docs_may_run_scripts(edge: "Edge") -> None:
    for path, may in (
        ("/docs/", True),
        ("/docs", True),
        ("/docs2", False),
        ("/tasks?/docs", False),
    ):
        policy = requests.get(edge.url + path, timeout=5).headers["Content-Security-Policy"]
        assert ("script-src" in policy) is may


def test_headers_of_the_app_are_kept_and_not_doubled(edge: "Edge") -> None:
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
def test_the_tasks_service_cannot_lead_nginx_anywhere(
    edge: "Edge", sha256: str, target: str
) -> None:
    edge.web.sha256 = edge.tasks.sha256 = sha256
    edge.tasks.answer = lambda handler: handler.clip(
        **{"X-Accel-Redirect": target, "X-Accel-Limit-Rate": "1", "X-Accel-Expires": "1"}
    )
    answer = requests.get(f"{edge.url}/tasks/7/parts/0", timeout=10)
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
        yield start_edge(NGINX_UPSTREAMS=upstreams)


def test_a_control_byte_in_a_header_is_answered_with_a_problem(before_gunicorn: "Edge") -> None:
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


def test_a_caller_cannot_reach_the_internal_addresses(edge: "Edge") -> None:
    for path in ("/_bad_request", "/_problem"):
        assert call(edge, path).status == 404
    assert edge.web.requests == []


@pytest.fixture
def secure(start_edge: "StartEdge", certificate: tuple[Path, Path]) -> "Edge":
    """An nginx that speaks TLS on its port, as after `make up` with TLS_CERT and TLS_KEY."""
    return start_edge(certificate=certificate)


def test_tls(secure: "Edge", certificate: tuple[Path, Path]) -> None:
    url = f"https://localhost:{secure.port}/tasks"
    answer = requests.get(url, timeout=5, verify=str(certificate[0]))
    assert answer.json() == {"service": "web"}
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
    assert secure.web.last["headers"]["x-forwarded-proto"] == "https"
    missing = requests.get(
        f"https://localhost:{secure.port}/metrics", timeout=5, verify=str(certificate[0])
    )
    assert missing.status_code == 404
    assert missing.headers["Strict-Transport-Security"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_plain_http_on_the_tls_port_is_redirected(secure: "Edge", method: str) -> None:
    url = f"localhost:{secure.port}/tasks?max=4"
    answer = requests.request(method, f"http://{url}", timeout=5, allow_redirects=False)
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"https://{url}"
    assert secure.web.requests == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_refused(secure: "Edge", version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", secure.port), timeout=5) as connection,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(connection)


@pytest.fixture
def container(
    start_service: "StartService",
    certificate: tuple[Path, Path],
    binaries: servers.Binaries,
    tmp_path: Path,
) -> Iterator[tuple[int, int]]:
    """nginx as the container's start.sh starts it with tls.yml, at other paths and ports: HTTP and HTTPS."""
    http_port, https_port = servers.free_port(), servers.free_port()
    replaced = {
        "/etc/idrl": str(config.NGINX_TEMPLATE.parent),
        "/run/tls/cert.pem": str(certificate[0]),
        "/run/tls/key.pem": str(certificate[1]),
        "/var/www/acme": str(tmp_path / "acme"),
        "/dev/stdout": str(tmp_path / "access.log"),
        "/var/tmp/clips": str(tmp_path / "clips"),  # noqa: S108 # not opened
        "/tmp/nginx": str(tmp_path / "nginx"),  # noqa: S108 # not opened
        "5050": f"127.0.0.1:{http_port}",
        "5443": f"127.0.0.1:{https_port}",
        "127.0.0.11": "127.0.0.1:1",
        "web:5002": f"127.0.0.1:{start_service('web').port}",
        "exec nginx": f"exec {binaries.nginx}",
    }
    script = (config.NGINX_TEMPLATE.parent / "start.sh").read_text()
    for old, new in replaced.items():
        assert old in script
        script = script.replace(old, new)
    challenge = tmp_path / "acme" / ".well-known" / "acme-challenge"
    challenge.mkdir(parents=True)
    (challenge / "token").write_text("proof")
    (tmp_path / "start.sh").write_text(script)
    limits = {"AUTH_RATE": "1r/s", "AUTH_BURST": "1", "API_RATE": "99r/s", "API_BURST": "99"}
    variables = {"TASKS_URL": "http://127.0.0.1:1", "TLS_CERT": "x", "TLS_KEY": "x", **limits}
    variables |= {
        "CONN_LIMIT": "9",
        "METRICS_FROM": "10.0.0.0/8, 127.0.0.1",
        "CLIP_CACHE_SIZE": "1m",
        "HTTPS_PORT": str(https_port),
    }
    environment = [f"{name}={value}" for name, value in variables.items()]
    servers.chown_to_nobody(tmp_path)
    command = servers.unprivileged(Path("/usr/bin/env"))
    command += [*environment, "sh", str(tmp_path / "start.sh")]
    with running(command, tmp_path / "log") as process:
        servers.wait_for_port(https_port, process)
        yield http_port, https_port


def test_the_container_redirects_to_https(
    container: tuple[int, int], certificate: tuple[Path, Path]
) -> None:
    http_port, https_port = container
    answer = requests.get(
        f"http://localhost:{http_port}/tasks?a=b", timeout=5, allow_redirects=False
    )
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"https://localhost:{https_port}/tasks?a=b"
    answer = requests.get(answer.headers["Location"], timeout=5, verify=str(certificate[0]))
    assert answer.json() == {"service": "web"}
    assert answer.headers["Strict-Transport-Security"]
    url = f"http://localhost:{http_port}/.well-known/acme-challenge/"
    assert requests.get(f"{url}token", timeout=5).text == "proof"
    metrics = f"https://localhost:{https_port}/metrics"
    assert requests.get(metrics, timeout=5, verify=str(certificate[0])).status_code == 200
    assert requests.get(f"{url}none", timeout=5, allow_redirects=False).status_code == 404
