"""Requests that are wrong in themselves: each gets a clear problem with its own code."""

import uuid

import pytest
from blackbox.client import Api

JSON = {"Content-Type": "application/json"}
POSTS = ["/auth/signup", "/auth/login", "/tasks"]
MALFORMED = [
    b"",
    b"{",
    b'{"url": "http://example.com/a.mp4",}',
    b"{'url': 'http://example.com/a.mp4'}",
    b"url=http://example.com/a.mp4",
    b"\xff\xfe\x00",
    b'{"url": "\xe9"}',
    b"[" * 8_000,
]
NO_OBJECTS = [b"[]", b"null", b"7", b'"http://example.com/a.mp4"', b"true"]
PRIVATE = [
    "http://localhost/a.mp4",
    "http://a.localhost/a.mp4",
    "http://10.0.0.1/a.mp4",
    "http://192.168.1.1/a.mp4",
    "http://169.254.169.254/latest/meta-data",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://100.64.0.1/a.mp4",
    "http://0.0.0.0/a.mp4",
    "http://2852039166/a.mp4",
    "http://0xa9.0xfe.0xa9.0xfe/a.mp4",
    "http://0251.0376.0251.0376/a.mp4",
    "http://169.16689662/a.mp4",
    "http://[::1]/a.mp4",
    "http://[::ffff:10.0.0.1]/a.mp4",
    "http://[64:ff9b::a9fe:a9fe]/a.mp4",
    "http://[fd00::1]/a.mp4",
    "http://224.0.0.1/a.mp4",
]
BAD_URLS = [
    ("example.com/a.mp4", "url_invalid"),
    ("//example.com/a.mp4", "url_invalid"),
    ("http://", "url_invalid"),
    ("http:///a.mp4", "url_invalid"),
    ("not a url", "url_invalid"),
    ("http://example.com/a\r\nHost: b", "url_invalid"),
    ("http://[::1/a.mp4", "url_invalid"),
    ("http://example.com:99999/a.mp4", "url_invalid"),
    ("https://example.com/" + "a" * 2048, "url_too_long"),
    ("file:///etc/passwd", "url_scheme_not_allowed"),
    ("ftp://example.com/a.mp4", "url_scheme_not_allowed"),
    ("data:video/mp4;base64,AAAA", "url_scheme_not_allowed"),
    ("javascript:alert(1)", "url_scheme_not_allowed"),
    ("gopher://example.com/", "url_scheme_not_allowed"),
    ("http://user:secret@example.com/a.mp4", "url_credentials_not_allowed"),
    ("http://user@example.com/a.mp4", "url_credentials_not_allowed"),
    ("http://example.com:22/a.mp4", "url_port_not_allowed"),
    ("http://example.com:6379/", "url_port_not_allowed"),
    *((url, "url_private_address") for url in PRIVATE),
]
BAD_TASKS: list[tuple[object, str]] = [
    ({}, "url"),
    ({"url": None}, "url"),
    ({"url": 7}, "url"),
    ({"url": ""}, "url"),
    ({"url": ["http://example.com/a.mp4"]}, "url"),
    ({"url": "http://example.com/\x00.mp4"}, "url"),
    ({"url": "http://example.com/a.mp4", "status": "done"}, "status"),
    ({"url": "http://example.com/a.mp4", "owner_id": 1}, "owner_id"),
]
BAD_QUERIES = [
    ("max=0", "max"),
    ("max=-1", "max"),
    ("max=abc", "max"),
    ("max=1000000000", "max"),
    ("max=", "max"),
    ("max=1.5", "max"),
    ("max=1001", "max"),
    ("order=2", "order"),
    ("order=-1", "order"),
    ("order=desc", "order"),
    ("status=ended", "status"),
]
NO_IDS = ["1", "abc", "0b8f2f0e-6c1d-4c0a-9f57", "'%20OR%20'1'='1", "%F0%9F%8E%AC", "a" * 300]


@pytest.fixture(params=POSTS)
def post_path(request: pytest.FixtureRequest) -> str:
    """Each address that takes a body."""
    return str(request.param)


@pytest.mark.parametrize("body", MALFORMED)
def test_malformed_json(api: Api, post_path: str, body: bytes) -> None:
    response = api.call("POST", post_path, data=body, headers=JSON)
    assert (response.status_code, response.json()["code"]) == (400, "malformed_json")


@pytest.mark.parametrize("body", NO_OBJECTS)
def test_json_that_is_no_object(api: Api, post_path: str, body: bytes) -> None:
    response = api.call("POST", post_path, data=body, headers=JSON)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_body")


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""]
)
def test_wrong_content_type(api: Api, post_path: str, media_type: str) -> None:
    response = api.call(
        "POST",
        post_path,
        data=b'{"url": "http://example.com/a.mp4"}',
        headers={"Content-Type": media_type},
    )
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


def test_json_with_a_charset_is_json(api: Api) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    response = api.call("POST", "/tasks", data=b'{"url": "file:///etc/passwd"}', headers=headers)
    assert response.json()["code"] == "url_scheme_not_allowed"


@pytest.mark.parametrize("size_bytes", [256 * 1024 + 1, 1024 * 1024 + 1])
def test_body_over_the_limit(api: Api, post_path: str, size_bytes: int) -> None:
    body = b" " * size_bytes
    headers = {"Content-Type": "application/json"}
    response = api.call("POST", post_path, data=body, headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(("body", "field"), BAD_TASKS)
def test_bad_fields_of_a_task(api: Api, body: object, field: str) -> None:
    response = api.post("/tasks", body)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (400, "invalid_body")
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize(("url", "code"), BAD_URLS)
def test_bad_urls(api: Api, url: str, code: str) -> None:
    response = api.post("/tasks", {"url": url})
    assert (response.status_code, response.json()["code"]) == (400, code)
    assert "secret" not in response.text


@pytest.mark.parametrize("key", ["", "a" * 256, "caf\xe9"])
def test_bad_idempotency_keys(api: Api, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}
    response = api.post("/tasks", {"url": "http://example.com/a.mp4"}, headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "idempotency_key_invalid")


@pytest.mark.parametrize(("query", "field"), BAD_QUERIES)
def test_bad_queries(api: Api, query: str, field: str) -> None:
    response = api.get(f"/tasks?{query}")
    problem = response.json()
    assert (response.status_code, problem["code"]) == (400, "invalid_query")
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("task_id", [*NO_IDS, str(uuid.uuid4())])
def test_ids_that_no_task_has(api: Api, method: str, task_id: str) -> None:
    response = api.call(method, f"/tasks/{task_id}")
    assert (response.status_code, response.json()["code"]) == (404, "task_not_found")


def test_path_that_is_no_path(api: Api) -> None:
    response = api.get("/tasks/%00", is_echoed=False)
    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize(
    "path", ["/", "/nothing-here", "/auth", "/auth/nothing", "/tasks/x/parts", "/tasks/x/y/z"]
)
def test_unknown_paths(api: Api, path: str) -> None:
    response = api.get(path)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/auth/login", {"POST"}),
        ("DELETE", "/auth/signup", {"POST"}),
        ("PUT", "/tasks", {"GET", "POST"}),
        ("DELETE", "/tasks", {"GET", "POST"}),
        ("PUT", f"/tasks/{uuid.uuid4()}", {"GET", "DELETE", "PATCH"}),
        ("POST", f"/tasks/{uuid.uuid4()}", {"GET", "DELETE", "PATCH"}),
        ("DELETE", f"/tasks/{uuid.uuid4()}/parts/0", {"GET"}),
        ("POST", "/health", {"GET"}),
        ("DELETE", "/openapi.json", {"GET"}),
    ],
)
def test_wrong_methods(api: Api, method: str, path: str, allowed: set[str]) -> None:
    response = api.call(method, path)
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert allowed <= set(response.headers["Allow"].split(", "))


def test_address_that_is_too_long(api: Api) -> None:
    response = api.get("/tasks?max=" + "1" * 40_000, is_echoed=False)
    assert (response.status_code, response.json()["code"]) == (414, "uri_too_long")


def test_header_that_is_too_long(api: Api) -> None:
    response = api.get("/tasks", headers={"X-Long": "a" * 40_000})
    assert (response.status_code, response.json()["code"]) == (431, "header_too_large")
