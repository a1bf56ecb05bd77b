import json
import re
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import pytest
import requests

from idrl_local import config, home
from idrl_local.servers import free_port
from idrl_testing.waiting import LIMIT_S

if TYPE_CHECKING:
    from conftest import Edge, StartEdge, StartService


def assert_problem(answer: requests.Response, status: int, code: str) -> None:
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == code
    assert problem["type"] == f"urn:idrl:problem:{code}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert re.fullmatch("[A-Za-z0-9-]{8,64}", problem["request_id"])


def upstreams(web_port: int, tasks_port: int) -> str:
    ports = {"web": web_port, "tasks": tasks_port}
    return " ".join(
        f"upstream {name} {{ server 127.0.0.1:{port}; keepalive 4; }}"
        for name, port in ports.items()
    )


def problem_of(raw: bytes) -> tuple[int, str]:
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    return int(head.split()[1]), json.loads(body)["code"]


def test_python_and_envsubst_render_the_same_template() -> None:
    """Both replace the named variables in braces; what they treat differently must not occur."""
    text = config.NGINX_TEMPLATE.read_text()
    variables = config.nginx_variables(home.Ports.starting_at(5050), {})
    assert set(re.findall(r"\$\{(\w+)\}", text)) == set(variables)
    assert "$$" not in text
    assert not re.search(rf"\$({'|'.join(variables)})\b", text)
    by_envsubst = re.sub(r"\$\{(\w+)\}", lambda match: variables[match[1]], text)
    assert Template(text).safe_substitute(variables) == by_envsubst


def test_requests_are_passed_to_the_web_app(edge: "Edge") -> None:
    answer = requests.post(f"{edge.url}/tasks?max=4", json={"url": "x"}, timeout=LIMIT_S)
    assert answer.json() == {"service": "web"}
    assert edge.web.last["method"] == "POST"
    assert edge.web.last["path"] == "/tasks?max=4"
    assert edge.web.last["body"] == b'{"url": "x"}'
    assert edge.web.last["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert edge.web.last["headers"]["host"] == f"127.0.0.1:{edge.port}"
    assert answer.headers["Server"] == "nginx"


def test_x_forwarded_for_is_replaced(edge: "Edge") -> None:
    requests.get(f"{edge.url}/tasks", headers={"X-Forwarded-For": "10.0.0.1"}, timeout=LIMIT_S)
    assert edge.web.last["headers"]["x-forwarded-for"] == "127.0.0.1"


def test_upstream_connections_are_kept_alive(edge: "Edge") -> None:
    for _ in range(5):
        requests.get(f"{edge.url}/tasks", timeout=LIMIT_S)
    assert len({request["connection"] for request in edge.web.requests}) < 5


def test_well_formed_request_id_is_passed_on(edge: "Edge") -> None:
    answer = requests.get(
        f"{edge.url}/tasks", headers={"X-Request-Id": "abc-12345"}, timeout=LIMIT_S
    )
    assert edge.web.last["headers"]["x-request-id"] == "abc-12345"
    assert answer.headers["X-Request-Id"] == "abc-12345"


@pytest.mark.parametrize("given", ["short", "x" * 65, 'quote"12345', "space 12345", "<script>1"])
def test_malformed_request_id_is_replaced(edge: "Edge", given: str) -> None:
    answer = requests.get(f"{edge.url}/tasks", headers={"X-Request-Id": given}, timeout=LIMIT_S)
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])
    assert edge.web.last["headers"]["x-request-id"] == answer.headers["X-Request-Id"]


def test_double_slashes_are_accepted(edge: "Edge") -> None:
    raw = edge.raw(b"DELETE /tasks//1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 200")
    assert edge.web.last["method"] == "DELETE"


def test_body_is_limited_to_one_mebibyte(edge: "Edge") -> None:
    assert requests.post(f"{edge.url}/tasks", data=bytes(1024 * 1024), timeout=LIMIT_S).ok
    assert len(edge.web.last["body"]) == 1024 * 1024
    assert_problem(
        requests.post(f"{edge.url}/tasks", data=bytes(3 * 1024 * 1024), timeout=LIMIT_S),
        413,
        "body_too_large",
    )


def test_body_of_a_batch_is_limited_to_four_mebibytes(edge: "Edge") -> None:
    for path in ("/batches", "/batches/"):
        assert requests.post(f"{edge.url}{path}", data=bytes(4 * 1024 * 1024), timeout=LIMIT_S).ok
        assert len(edge.web.last["body"]) == 4 * 1024 * 1024
        too_large = requests.post(
            f"{edge.url}{path}", data=bytes(4 * 1024 * 1024 + 1), timeout=LIMIT_S
        )
        assert_problem(too_large, 413, "body_too_large")


def test_long_uri_and_long_headers_are_refused(edge: "Edge") -> None:
    assert_problem(requests.get(f"{edge.url}/{'x' * 20_000}", timeout=LIMIT_S), 414, "uri_too_long")
    answer = requests.get(edge.url, headers={"X-Long": "x" * 60_000}, timeout=LIMIT_S)
    assert_problem(answer, 431, "header_too_large")


def test_malformed_http_is_refused(edge: "Edge") -> None:
    assert problem_of(edge.raw(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")) == (
        400,
        "bad_request",
    )
    assert problem_of(edge.raw(b"GET / HTTP/1.1\r\n\r\n")) == (400, "bad_request")
    assert problem_of(edge.raw(b"GET / HTTP/7.1\r\nHost: x\r\n\r\n")) == (
        505,
        "http_version_not_supported",
    )
    encoding = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: odd\r\n\r\n"
    assert problem_of(edge.raw(encoding)) == (501, "not_implemented")


def test_trace_is_refused(edge: "Edge") -> None:
    answer = requests.request("TRACE", edge.url, timeout=LIMIT_S)
    assert_problem(answer, 405, "method_not_allowed")
    assert {"GET", "POST", "PUT", "PATCH", "DELETE"} <= set(answer.headers["Allow"].split(", "))


def test_internal_locations_are_not_public(edge: "Edge") -> None:
    kept = f"_clips/{'a' * 64}/tasks/7/parts/0"
    for path in (
        "/_tasks/tasks",
        "//_tasks/tasks",
        "/%5Ftasks/tasks",
        "/x/../_tasks/tasks",
        f"/{kept}",
        f"//x/../{kept}",
    ):
        raw = edge.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert problem_of(raw) == (404, "not_found")
    assert edge.tasks.requests == []


@pytest.mark.parametrize("path", ["/auth", "/_tasks"])
def test_nginx_adds_no_redirects(edge: "Edge", path: str) -> None:
    answer = requests.get(edge.url + path, allow_redirects=False, timeout=LIMIT_S)
    assert answer.json() == {"service": "web"}
    assert edge.web.last["path"] == path


def test_clip_is_fetched_from_the_tasks_service_by_x_accel_redirect(edge: "Edge") -> None:
    headers = {"Authorization": "Bearer t", "X-Request-Id": "abc-12345"}
    answer = requests.get(f"{edge.url}/tasks/7/parts/0", headers=headers, timeout=LIMIT_S)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "video/mp4"
    assert answer.headers["ETag"] == '"e"'
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert len(answer.content) == 8 * 1024 * 1024
    assert edge.tasks.last["path"] == "/tasks/7/parts/0"
    assert edge.tasks.last["headers"]["authorization"] == "Bearer t"
    assert edge.tasks.last["headers"]["x-request-id"] == "abc-12345"
    assert answer.headers["X-Request-Id"] == "abc-12345"
    assert not any((edge.folder / "proxy").rglob("*"))


def test_ranges_conditions_and_head_pass_through(edge: "Edge") -> None:
    clip = f"{edge.url}/tasks/7/parts/0"
    partial = requests.get(
        clip, headers={"Range": "bytes=1-3", "If-None-Match": '"x"'}, timeout=LIMIT_S
    )
    assert partial.status_code == 206
    assert partial.content == b"\x01\x02\x03"
    assert partial.headers["Content-Range"].startswith("bytes 1-3/")
    assert edge.tasks.last["headers"]["if-none-match"] == '"x"'
    head = requests.head(clip, timeout=LIMIT_S)
    assert edge.tasks.last["method"] == "HEAD"
    assert head.headers["Content-Length"] == str(8 * 1024 * 1024)


def test_error_of_the_tasks_service_is_passed_on(edge: "Edge") -> None:
    answer = requests.get(f"{edge.url}/tasks/7/parts/404", timeout=LIMIT_S)
    assert answer.status_code == 404
    assert answer.json() == {"code": "part_not_found"}


def test_auth_rate_limit(start_edge: "StartEdge") -> None:
    edge = start_edge(AUTH_RATE="1r/m", AUTH_BURST="2")
    answers = [requests.post(f"{edge.url}/auth/login", json={}, timeout=LIMIT_S) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert_problem(answers[-1], 429, "too_many_requests")
    assert int(answers[-1].headers["Retry-After"]) > 0
    around = edge.raw(
        b"POST /x/..//auth/%6cogin HTTP/1.1\r\nHost: x\r\n"
        b"Content-Length: 0\r\nConnection: close\r\n\r\n"
    )
    assert problem_of(around) == (429, "too_many_requests")
    assert requests.get(f"{edge.url}/tasks", timeout=LIMIT_S).ok


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_changes_of_an_account_check_passwords_at_the_rate_of_log_ins(
    start_edge: "StartEdge", method: str
) -> None:
    edge = start_edge(AUTH_RATE="1r/m", AUTH_BURST="2")
    paths = ["/me", "/me/", "//me", "/x/../%6de", "/me?x"]
    answers = [requests.request(method, f"{edge.url}{path}", timeout=LIMIT_S) for path in paths]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert_problem(answers[-1], 429, "too_many_requests")
    assert answers[-1].headers["RateLimit-Policy"] == '"address-auth";q=1;w=60'
    assert requests.post(f"{edge.url}/auth/login", json={}, timeout=LIMIT_S).status_code == 429
    for path in ("/me", "/me/keys", "/tasks"):
        assert requests.get(f"{edge.url}{path}", timeout=LIMIT_S).ok


def test_web_app_unavailable_is_503_until_it_is_back(
    start_edge: "StartEdge", start_service: "StartService"
) -> None:
    unavailable = start_service("web")
    port = free_port()
    edge = start_edge(NGINX_UPSTREAMS=upstreams(port, unavailable.port))
    answer = requests.get(f"{edge.url}/tasks", timeout=LIMIT_S)
    assert_problem(answer, 503, "web_unavailable")
    assert answer.headers["Retry-After"]
    start_service("web", port)
    assert requests.get(f"{edge.url}/tasks", timeout=LIMIT_S).json() == {"service": "web"}


def test_tasks_service_unavailable_is_502_until_it_is_back(
    start_edge: "StartEdge", start_service: "StartService"
) -> None:
    web = start_service("web")
    port = free_port()
    edge = start_edge(NGINX_UPSTREAMS=upstreams(web.port, port))
    assert_problem(
        requests.get(f"{edge.url}/tasks/7/parts/0", timeout=LIMIT_S), 502, "tasks_unavailable"
    )
    start_service("tasks", port)
    assert requests.get(f"{edge.url}/tasks/7/parts/0", timeout=LIMIT_S).ok


def test_unresolvable_upstream_does_not_stop_the_start(
    start_edge: "StartEdge",
) -> None:
    # What the container does: a resolver, and names instead of fixed addresses.
    resolver = f"resolver 127.0.0.1:{free_port()} valid=5s;"
    edge = start_edge(
        NGINX_UPSTREAMS=resolver,
        WEB_UPSTREAM="web.invalid:5002",
        TASKS_UPSTREAM="tasks.invalid:5004",
        replaced={"resolver_timeout 3s": "resolver_timeout 1s"},
    )
    assert_problem(requests.get(f"{edge.url}/tasks", timeout=LIMIT_S), 503, "web_unavailable")


def test_upstream_timeout_is_504(start_edge: "StartEdge") -> None:
    edge = start_edge(replaced={"proxy_read_timeout 14s": "proxy_read_timeout 200ms"})
    assert_problem(requests.get(f"{edge.url}/slow", timeout=LIMIT_S), 504, "web_timeout")


def test_slow_headers_and_bodies_are_closed(start_edge: "StartEdge") -> None:
    times = {
        "client_header_timeout 5s": "client_header_timeout 300ms",
        "client_body_timeout 10s": "client_body_timeout 300ms",
    }
    edge = start_edge(replaced=times)
    assert edge.raw(b"GET / HTTP/1.1\r\nHost: x\r\nX-Dri") == b""
    body = edge.raw(b"POST /tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    assert body == b""
    assert edge.web.requests == []


def test_access_log_is_json_without_queries(edge: "Edge") -> None:
    secret = "q=hidden"
    requests.get(
        f"{edge.url}/tasks?{secret}", headers={"X-Request-Id": "abc-12345"}, timeout=LIMIT_S
    )
    requests.get(f'{edge.url}/a"b', timeout=LIMIT_S)
    edge.raw(b"nonsense\r\n\r\n")
    requests.post(f"{edge.url}/tasks", b"x" * (1024 * 1024 + 1), timeout=LIMIT_S)
    text = edge.access_log()
    lines = [json.loads(line) for line in text.splitlines()]
    assert secret not in text
    # Two processes write the log, and each line comes after its answer: the order is not fixed.
    (first,) = [line for line in lines if line["request_id"] == "abc-12345"]
    assert (first["path"], first["status"], first["service"]) == ("/tasks", 200, "nginx")
    assert sorted(line["status"] for line in lines) == [200, 200, 400, 413]
    (refused,) = [line for line in lines if line["status"] == 413]
    assert (refused["path"], refused["method"]) == ("/tasks", "POST")


def test_logs_have_no_token_of_a_share_link(edge: "Edge") -> None:
    token = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl-_x"
    paths = ["/s/{}", "/s/{}/parts/0?a=1", "//s/{}", "/x/../s/{}/parts/0/poster.jpg", "/%73/{}"]
    paths += ["/s/{}".format(token.replace(".", "%2E")), f"/s/{token[:30]}%0A{token[30:]}"]
    for path in paths:
        answer = requests.get(edge.url + path.format(token), timeout=LIMIT_S)
        assert answer.headers["Referrer-Policy"] == "no-referrer"
    text = edge.access_log()
    assert "eyJ" not in text
    assert "c2lnbmF0dXJl" not in text
    # Two processes write it, as above.
    logged = Counter(json.loads(line)["path"] for line in text.splitlines())
    assert logged == {"/s/-": 5, "/s/-/parts/0": 1, "/s/-/parts/0/poster.jpg": 1}


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/nope/eyJa.b.c/x?eyJ", "/nope/-/x"),
        ("/nope/eyJa.b/eyJeyJ/e/eyJ.eyJ.eyJ/e", "/nope/eyJa.b/eyJeyJ/e/-/e"),
        ("/eye/eyJa?eyJ.b.c", "/eye/eyJa"),
        ("/" + "eyJ" * 2600, "/" + "eyJ" * 2600),
        ("/" + "eyJ/" * 1900 + "eyJ.b.c", "/" + "eyJ/" * 1900 + "-"),
        ("/" + "e" * 7800 + "eyJ.b.c", "/" + "e" * 7800 + "-"),
    ],
)
def test_tokens_are_found_between_other_text(edge: "Edge", path: str, logged: str) -> None:
    requests.get(edge.url + path, timeout=30)
    (line,) = edge.access_log().splitlines()
    assert json.loads(line)["path"] == logged


def test_tokens_are_found_in_linear_time() -> None:
    """A process of nginx answers no other call meanwhile."""
    template = Path(__file__).parents[2] / "web-server/nginx/nginx.conf.template"
    (pattern,) = re.findall(r'"~(.*idrl_before_token>.*)" "', template.read_text())
    pattern = pattern.replace("(?<idrl", "(?P<idrl")
    code = f"import re; assert not re.search({pattern!r}, '/' + 'eyJ' * 10**6)"
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/tasks"),
        ("POST", "/tasks"),
        ("POST", "/auth/login"),
        ("GET", "/tasks/7/parts/0"),
        ("PATCH", "/uploads/7"),
        ("POST", "/brands"),
        ("GET", "/s/x.y.z"),
        ("GET", "/auth"),
    ],
)
def test_half_closed_connection_is_answered(edge: "Edge", method: str, path: str) -> None:
    """As `nc -N` does. nginx took it for a caller that is gone, though the task was made."""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"
    with socket.create_connection(("127.0.0.1", edge.port), timeout=LIMIT_S) as connection:
        connection.sendall(f"{head}{{}}".encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"
