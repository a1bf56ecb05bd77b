"""Refusals of calls with large bodies, uploads and brands: as those of all other calls."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import requests

from idrl_local.servers import free_port
from idrl_testing.waiting import LIMIT_S

if TYPE_CHECKING:
    from conftest import Edge, StartEdge, StartService

BODY = bytes(2 * 1024 * 1024)
CALLS = [("PATCH", "/uploads/7"), ("POST", "/uploads"), ("POST", "/brands")]


def upstreams(web_port: int, tasks_port: int) -> str:
    ports = {"web": web_port, "tasks": tasks_port}
    return " ".join(
        f"upstream {name} {{ server 127.0.0.1:{port}; }}" for name, port in ports.items()
    )


def assert_problem(answer: requests.Response, status: int, code: str) -> None:
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
    is_tus = urlsplit(answer.url).path.startswith("/uploads")
    assert answer.headers.get("Tus-Resumable") == ("1.0.0" if is_tus else None)


def send(edge: "Edge", method: str, path: str, **headers: str) -> requests.Response:
    return requests.request(method, edge.url + path, data=BODY, headers=headers, timeout=LIMIT_S)


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_tasks_service_unavailable_is_502(
    start_edge: "StartEdge", start_service: "StartService", method: str, path: str
) -> None:
    edge = start_edge(NGINX_UPSTREAMS=upstreams(start_service("web").port, free_port()))
    answer = send(edge, method, path)
    assert_problem(answer, 502, "tasks_unavailable")
    assert answer.headers["Retry-After"]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_web_app_unavailable_is_503(
    start_edge: "StartEdge", start_service: "StartService", method: str, path: str
) -> None:
    edge = start_edge(NGINX_UPSTREAMS=upstreams(free_port(), start_service("tasks").port))
    answer = send(edge, method, path)
    assert_problem(answer, 503, "web_unavailable")
    assert answer.headers["Retry-After"]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_limits_and_other_sites_are_refused_as_everywhere(
    start_edge: "StartEdge", method: str, path: str
) -> None:
    edge = start_edge(API_RATE="1r/m", API_BURST="2")
    other_site = {"Cookie": "idrl=eyJ.a-b_c.d", "Sec-Fetch-Site": "cross-site"}
    assert_problem(send(edge, method, path, **other_site), 403, "cross_site")
    answers = [send(edge, method, path) for _ in range(4)]
    assert answers[0].ok
    assert_problem(answers[-1], 429, "too_many_requests")
    assert answers[-1].headers["Retry-After"]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_refusal_of_the_web_app_is_relayed(
    start_edge: "StartEdge", start_service: "StartService", method: str, path: str
) -> None:
    web = start_service("web")
    problem = {"Content-Type": "application/problem+json", "X-Request-Id": "of-the-web-app"}
    web.answer = lambda handler: handler.send(401, problem, b'{"code": "token_missing"}')
    answer = send(start_edge(web=web), method, path)
    assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")
    assert answer.headers.get("Tus-Resumable") == ("1.0.0" if "uploads" in path else None)


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_token_of_a_call_that_is_refused_once_stays_inside(
    start_edge: "StartEdge", start_service: "StartService", method: str, path: str
) -> None:
    """nginx asks the web app again for its refusal; another process may allow the call by then."""
    web, statuses = start_service("web"), iter([401])
    allowed = {"X-Accel-Authorization": "Bearer of-a-key"}
    web.answer = lambda handler: handler.send(next(statuses, 204), allowed, b"")
    answer = send(start_edge(web=web), method, path)
    assert "X-Accel-Authorization" not in answer.headers


def test_tus_header_of_the_tasks_service_comes_once(
    start_edge: "StartEdge", start_service: "StartService"
) -> None:
    tasks = start_service("tasks")
    tasks.answer = lambda handler: handler.send(204, {"Tus-Resumable": "1.0.0"}, b"")
    answer = send(start_edge(tasks=tasks), "PATCH", "/uploads/7")
    assert (answer.status_code, answer.headers["Tus-Resumable"]) == (204, "1.0.0")
