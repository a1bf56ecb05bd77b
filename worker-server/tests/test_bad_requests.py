"""Requests that the tasks service refuses: bodies, queries, ids, tokens, paths."""

import json
import re
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from idrl_common.problems import Problem
from idrl_testing.database import Database
from worker_server.api.batch_views import parse_new_batch
from worker_testing import URL, problem

Auth = Callable[..., dict[str, str]]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"url": ""}, "invalid_body"),
        ({"url": None}, "invalid_body"),
        ({"url": 5}, "invalid_body"),
        ({"url": ["http://example.com"]}, "invalid_body"),
        ({}, "invalid_body"),
        ({"url": URL, "status": "done", "owner_id": 2}, "invalid_body"),
        ({"url": "http://example.com/\x00"}, "invalid_body"),
        ([], "invalid_body"),
        ({"url": "example.com/v.mp4"}, "url_invalid"),
        ({"url": "http://example.com/" + "a" * 3000}, "url_too_long"),
        ({"url": "file:///etc/passwd"}, "url_scheme_not_allowed"),
        ({"url": "ftp://example.com/v.mp4"}, "url_scheme_not_allowed"),
        ({"url": "http://me:secret@example.com/v.mp4"}, "url_credentials_not_allowed"),
        ({"url": "http://example.com:22/v.mp4"}, "url_port_not_allowed"),
        ({"url": "http://10.0.0.1/v.mp4"}, "url_private_address"),
        ({"url": "http://[::1]/v.mp4"}, "url_private_address"),
        ({"url": "http://0x7f.2/v.mp4"}, "url_private_address"),
        ({"url": "http://localhost/v.mp4"}, "url_private_address"),
    ],
)
def test_a_bad_task_is_refused(
    client: FlaskClient, auth: Auth, database: Database, body: object, code: str
) -> None:
    assert problem(client.post("/tasks", json=body, headers=auth())) == (400, code)
    assert database.execute("SELECT count(*) FROM tasks") == [(0,)]


@pytest.mark.parametrize(
    "body",
    [
        b'{"url": "x",}',
        b"{",
        b"",
        b"\xff\xfe",
        b"[" * 16_000,
        b'{"a":' + b"1" * 5000 + b"}",
        b'{"url": "\\ud800"}',
    ],
)
def test_malformed_json_is_refused(client: FlaskClient, auth: Auth, body: bytes) -> None:
    response = client.post("/tasks", data=body, content_type="application/json", headers=auth())
    assert problem(response) == (400, "malformed_json")


def test_another_content_type_is_refused(client: FlaskClient, auth: Auth) -> None:
    response = client.post("/tasks", data=b"url=x", content_type="text/plain", headers=auth())
    assert problem(response) == (415, "unsupported_media_type")


def test_a_body_over_256_kib_is_refused(client: FlaskClient, auth: Auth) -> None:
    response = client.post(
        "/tasks", data=b"x" * (256 * 1024 + 1), content_type="application/json", headers=auth()
    )
    assert problem(response) == (413, "body_too_large")


def test_open_endpoints_are_few(app: Flask) -> None:
    """Every other route of the app, now and later, answers 401 without a token."""
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "0", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            response = app.test_client().open(path, method=method)
            is_open = path in {"/health", "/ready", "/metrics"}
            assert (response.status_code == 401) != is_open, path


@pytest.mark.parametrize(("method", "path"), [("POST", "/tasks"), ("GET", "/tasks/x")])
def test_a_token_is_checked(
    client: FlaskClient, token: Callable[..., str], method: str, path: str
) -> None:
    def call(authorization: str | None) -> TestResponse:
        headers = {"Authorization": authorization} if authorization is not None else {}
        return client.open(path, method=method, headers=headers)

    for missing in (None, "", "Bearer", "Basic eDp5"):
        assert problem(call(missing)) == (401, "token_missing")
    for bad in (
        "garbage",
        token(aud="other"),
        token(iss="other"),
        token(exp=None),
        token(user_id="1"),
        token(sub="2"),
    ):
        response = call(f"Bearer {bad}")
        assert problem(response) == (401, "token_invalid")
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert problem(call(f"Bearer {token(exp=1)}")) == (401, "token_expired")


@pytest.mark.parametrize(
    "query",
    ["max=0", "max=-1", "max=abc", "max=1000000000", "max=", "order=2", "order=x", "page=1"],
)
def test_a_bad_query_is_refused(client: FlaskClient, auth: Auth, query: str) -> None:
    response = client.get(f"/tasks?{query}", headers=auth())
    assert problem(response) == (400, "invalid_query")
    assert response.get_json()["errors"][0]["field"] == query.partition("=")[0]


@pytest.mark.parametrize(
    "task_id", ["1", "abc", "../../etc", "' OR 1=1", "%00", "00000000-0000-0000-0000-00000000000g"]
)
def test_an_id_that_is_no_uuid_does_not_exist(
    client: FlaskClient, auth: Auth, task_id: str
) -> None:
    assert client.get(f"/tasks/{task_id}", headers=auth()).status_code == 404


def test_large_batches_do_not_add_up_in_memory(app: Flask, auth: Auth) -> None:
    body = json.dumps({f"field{n}": n for n in range(60_000)}).encode()

    def peak_bytes(requests: int) -> int:
        def once(user_id: int) -> TestResponse:
            headers = {**auth(user_id), "Content-Type": "application/json"}
            return app.test_client().post("/batches", data=body, headers=headers)

        tracemalloc.start()
        with ThreadPoolExecutor(requests) as pool:
            codes = {problem(answer) for answer in pool.map(once, range(1, requests + 1))}
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert codes == {(400, "invalid_body")}
        return peak

    peak_bytes(1)  # imports and prepared queries, once
    assert peak_bytes(6) - 5 * len(body) < 1.5 * peak_bytes(1)


def test_refusal_of_a_large_batch_keeps_nothing_of_it(app: Flask, auth: Auth) -> None:
    """The frames and causes of its exception did, outside the lock: two parsed bodies at once."""
    body = json.dumps({f"field{n}": n for n in range(60_000)}).encode()
    headers = {**auth(), "Content-Type": "application/json"}
    with app.test_request_context("/batches", method="POST", data=body, headers=headers):
        assert app.preprocess_request() is None
        tracemalloc.start()
        with pytest.raises(Problem) as refusal:
            parse_new_batch()
        kept_bytes = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert refusal.value.code == "invalid_body"
    assert kept_bytes < 2 * len(body)


def test_unknown_paths_and_methods(client: FlaskClient, auth: Auth) -> None:
    assert problem(client.get("/nothing", headers=auth())) == (404, "not_found")
    assert problem(client.get("/tasks/x/parts/one", headers=auth())) == (404, "not_found")
    response = client.put("/tasks", headers=auth())
    assert problem(response) == (405, "method_not_allowed")
    assert {"GET", "POST"} <= set(response.headers["Allow"].split(", "))
