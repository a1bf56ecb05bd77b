"""The gateway to the tasks service."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from flask.testing import FlaskClient

from idrl_testing.waiting import LIMIT_S
from web_testing import CLIP, assert_problem

if TYPE_CHECKING:
    from conftest import Exchange, TasksStandIn


def test_call_is_forwarded_with_query_headers_and_body(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str]
) -> None:
    sent_headers = {
        **headers,
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Idempotency-Key": "key-1",
        "X-Request-Id": "caller-chose-this",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }
    client.post("/tasks?a=1&b=%2F&a=2", data=b'{"url": "x"}', headers=sent_headers)
    [seen] = tasks.seen
    assert (seen.method, seen.target, seen.body) == (
        "POST",
        "/tasks?a=1&b=%2F&a=2",
        b'{"url": "x"}',
    )
    assert {name: seen.headers[name] for name in sent_headers} == sent_headers


@pytest.mark.parametrize(
    ("sent", "forwarded"),
    [
        ("q=%C3%A9", "q=%C3%A9"),
        ("q=100%&external_id=a%20b", "q=100%25&external_id=a%20b"),
        ("q=%zz%2", "q=%25zz%252"),
        ("created_after=2026-01-01T00:00:00Z&q=a|b", "created_after=2026-01-01T00:00:00Z&q=a%7Cb"),
    ],
)
def test_query_means_the_same_to_the_tasks_service(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str], sent: str, forwarded: str
) -> None:
    client.get("/tasks", headers=headers, environ_overrides={"QUERY_STRING": sent})
    [seen] = tasks.seen
    assert seen.target == f"/tasks?{forwarded}"


def test_other_headers_are_not_forwarded(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str]
) -> None:
    other_headers = {
        "Cookie": "a=b",
        "X-Forwarded-For": "192.0.2.1",
        "Accept-Encoding": "gzip",
        "User-Agent": "x",
        "TE": "x",
    }
    client.get("/tasks", headers={**headers, **other_headers})
    [seen] = tasks.seen
    assert set(seen.headers) == {"Host", "Authorization", "Accept-Encoding", "X-Request-Id"}
    assert seen.headers["Accept-Encoding"] == "identity"


def test_the_answer_is_passed_back_as_it_is(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str]
) -> None:
    answer_headers = {
        "Content-Type": "application/json",
        "Location": "/tasks/1",
        "Retry-After": "3",
        "ETag": '"x"',
        "Cache-Control": "private",
    }
    other_headers = {"Set-Cookie": "a=b", "X-Internal": "1", "Connection": "keep-alive"}
    tasks.answer = lambda exchange: exchange.respond(
        202, b'{ "a":1 }', {**answer_headers, **other_headers}
    )
    answer = client.post("/tasks", headers=headers)
    assert (answer.status_code, answer.data) == (202, b'{ "a":1 }')
    assert set(answer.headers.keys()) == {*answer_headers, "Content-Length", "X-Request-Id"}
    assert {name: answer.headers[name] for name in answer_headers} == answer_headers


def test_cookies_of_one_caller_never_reach_another(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str]
) -> None:
    tasks.answer = lambda exchange: exchange.respond(200, b"", {"Set-Cookie": "session=secret"})
    client.get("/tasks", headers=headers)
    client.get("/tasks", headers=headers)
    assert [seen.headers.get("Cookie") for seen in tasks.seen] == [None, None]


@pytest.mark.parametrize("status", [200, 400, 404, 405, 409, 422, 500, 503])
def test_a_problem_is_passed_back(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str], status: int
) -> None:
    body = b'{"code":"whatever"}'
    answer_headers = {"Content-Type": "application/problem+json", "Allow": "GET"}
    tasks.answer = lambda exchange: exchange.respond(status, body, answer_headers)
    answer = client.delete("/tasks/1", headers=headers)
    assert (answer.status_code, answer.data, answer.content_type) == (
        status,
        body,
        "application/problem+json",
    )
    assert answer.headers["Allow"] == "GET"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
@pytest.mark.parametrize("status", [413, 429, 503])
def test_retry_after_is_left_to_the_caller(
    client: FlaskClient,
    tasks: TasksStandIn,
    headers: dict[str, str],
    method: str,
    status: int,
) -> None:
    body = b'{"code":"storage_full"}'
    answer_headers = {"Content-Type": "application/problem+json", "Retry-After": "7"}
    tasks.answer = lambda exchange: exchange.respond(status, body, answer_headers)
    answer = client.open("/tasks/1", method=method, headers=headers)
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, "7")
    assert answer.data == (b"" if method == "HEAD" else body)
    assert len(tasks.seen) == 1


def test_a_redirect_is_not_followed(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str]
) -> None:
    tasks.answer = lambda exchange: exchange.respond(302, b"", {"Location": "http://127.0.0.1:1/"})
    answer = client.get("/tasks/1", headers=headers)
    assert (answer.status_code, answer.headers["Location"]) == (302, "http://127.0.0.1:1/")
    assert len(tasks.seen) == 1


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_methods_are_checked_by_the_tasks_service(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str], method: str
) -> None:
    tasks.answer = lambda exchange: exchange.respond(405, b"", {"Allow": "GET, POST"})
    answer = client.open("/tasks", method=method, headers=headers)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, POST")
    assert [seen.method for seen in tasks.seen] == [method]


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_default_is_not_taken_for_a_brand_id(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str], method: str
) -> None:
    answer = client.open("/brands/default", method=method, headers=headers)
    assert_problem(answer, 405, "method_not_allowed")
    assert tasks.seen == []
    options = client.options("/brands/default", headers=headers)
    assert options.headers["Allow"] == "GET, HEAD, PUT, OPTIONS"


def test_unknown_method_is_refused(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str]
) -> None:
    answer = client.open("/tasks", method="TRACE", headers=headers)
    assert_problem(answer, 405, "method_not_allowed")
    assert "GET" in answer.headers["Allow"]
    assert tasks.seen == []


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/tasks", "/tasks"),
        ("/tasks/", "/tasks/"),
        ("/tasks//42", "/tasks/42"),
        ("//tasks///42/", "/tasks/42/"),
        ("/tasks/a b%?#\u00e9", "/tasks/a%20b%25%3F%23%C3%A9"),
        ("/tasks/a\\c", "/tasks/a%5Cc"),
    ],
)
def test_a_path_is_encoded_again(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str], path: str, target: str
) -> None:
    raw = path.encode().decode("latin-1")  # as WSGI has it
    answer = client.get("/", headers=headers, environ_overrides={"PATH_INFO": raw})
    assert answer.status_code == 200
    assert [seen.target for seen in tasks.seen] == [target]


@pytest.mark.parametrize(
    "path", ["/tasks/../metrics", "/tasks/..", "/tasks/./1", "/tasks//..//metrics", "/tasks/1/../2"]
)
def test_path_traversal_is_refused(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str], path: str
) -> None:
    answer = client.get("/", headers=headers, environ_overrides={"PATH_INFO": path})
    assert_problem(answer, 404, "not_found")
    assert tasks.seen == []


@pytest.mark.parametrize("path", ["/tasksx", "/metrics/tasks", "/_tasks/tasks/1"])
def test_other_paths_are_not_passed_on(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str], path: str
) -> None:
    assert_problem(client.get(path, headers=headers), 404, "not_found")
    assert tasks.seen == []


def test_head_has_the_length_and_no_body(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str]
) -> None:
    tasks.answer = lambda exchange: exchange.respond(
        200, b"x" * 1000, {"Content-Type": "video/mp4"}
    )
    answer = client.head(CLIP, headers=headers)
    assert (answer.status_code, answer.data, answer.content_length) == (200, b"", 1000)
    assert [seen.method for seen in tasks.seen] == ["HEAD"]


def test_a_range_is_passed_both_ways(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str]
) -> None:
    answer_headers = {
        "Content-Type": "video/mp4",
        "Content-Range": "bytes 0-3/9",
        "Accept-Ranges": "bytes",
        "ETag": '"x"',
    }
    tasks.answer = lambda exchange: exchange.respond(206, b"0123", answer_headers)
    conditions = {"Range": "bytes=0-3", "If-Range": '"x"', "If-None-Match": '"y"'}
    answer = client.get(CLIP, headers={**headers, **conditions})
    assert (answer.status_code, answer.data) == (206, b"0123")
    assert {name: answer.headers[name] for name in answer_headers} == answer_headers
    assert {name: tasks.seen[0].headers[name] for name in conditions} == conditions


def test_not_modified_has_no_body(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str]
) -> None:
    def not_modified(exchange: Exchange) -> None:
        exchange.send_response(304)
        exchange.send_header("ETag", '"x"')
        exchange.end_headers()

    tasks.answer = not_modified
    answer = client.get(CLIP, headers=headers)
    assert (answer.status_code, answer.data, answer.headers["ETag"]) == (304, b"", '"x"')


def test_a_compressed_answer_stays_compressed(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str]
) -> None:
    tasks.answer = lambda exchange: exchange.respond(
        200, b"\x1f\x8b not really", {"Content-Encoding": "gzip"}
    )
    assert client.get("/tasks", headers=headers).data == b"\x1f\x8b not really"


def test_clip_is_streamed(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str]
) -> None:
    half, first_half_arrived = b"x" * 65536, threading.Event()

    def two_halves(exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.send_header("Content-Length", str(2 * len(half)))
        exchange.end_headers()
        exchange.wfile.write(half)
        if first_half_arrived.wait(LIMIT_S):
            exchange.wfile.write(half)

    tasks.answer = two_halves
    answer = client.get(CLIP, headers=headers, buffered=False)
    chunks = answer.iter_encoded()
    assert next(iter(chunks)) == half
    first_half_arrived.set()
    assert b"".join(chunks) == half


def test_closing_the_response_closes_the_upstream_connection(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str]
) -> None:
    broken = threading.Event()

    def endless(exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.send_header("Content-Length", str(1 << 40))
        exchange.end_headers()
        try:
            while True:
                exchange.wfile.write(b"x" * 65536)
        except OSError:
            broken.set()

    tasks.answer = endless
    answer = client.get(CLIP, headers=headers, buffered=False)
    assert len(next(iter(answer.iter_encoded()))) > 0
    answer.close()
    assert broken.wait(LIMIT_S)


def test_a_batch_over_4_mib_is_not_passed_on(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str]
) -> None:
    whole = b"x" * 4 * 1024 * 1024
    refused = client.post("/batches", data=whole + b"x", headers=headers)
    assert_problem(refused, 413, "body_too_large")
    assert tasks.seen == []
    assert client.post("/batches", data=whole, headers=headers).status_code == 200
    assert len(tasks.seen[0].body) == len(whole)


def test_a_body_over_256_kib_is_not_passed_on(
    client: FlaskClient, tasks: TasksStandIn, headers: dict[str, str]
) -> None:
    assert_problem(
        client.post("/tasks", data=b"x" * (256 * 1024 + 1), headers=headers), 413, "body_too_large"
    )
    assert tasks.seen == []
    assert client.post("/tasks", data=b"x" * 256 * 1024, headers=headers).status_code == 200
    assert len(tasks.seen[0].body) == 256 * 1024
