"""Every request has an id, and every response has it as a header."""

import re

import pytest
from flask import Flask

from idrl_common import request_ids


@pytest.fixture
def app(app: Flask) -> Flask:
    @app.get("/id")
    def current_id() -> str:
        return request_ids.request_id.get() or ""

    return app


@pytest.mark.parametrize("given", ["12345678", "abc-DEF-0", "x" * 64])
def test_a_callers_id_is_kept(app: Flask, given: str) -> None:
    answer = app.test_client().get("/id", headers={"X-Request-Id": given})
    assert answer.text == answer.headers["X-Request-Id"] == given


@pytest.mark.parametrize(
    "given", ["", "1234567", "x" * 65, "with space", "with_underscore", "é" * 8, '"}{"a":"b']
)
def test_any_other_id_is_replaced(app: Flask, given: str) -> None:
    answer = app.test_client().get("/id", headers={"X-Request-Id": given})
    assert re.fullmatch("[0-9a-f]{32}", answer.text)
    assert answer.headers["X-Request-Id"] == answer.text


def test_two_requests_have_two_ids(app: Flask) -> None:
    client = app.test_client()
    assert client.get("/id").text != client.get("/id").text


def test_error_response_has_the_request_id(app: Flask) -> None:
    answer = app.test_client().get("/nowhere", headers={"X-Request-Id": "caller-chose-this"})
    assert answer.headers["X-Request-Id"] == "caller-chose-this"
