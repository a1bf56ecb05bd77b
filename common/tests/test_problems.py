"""Every error has one shape."""

import pytest
from flask import Flask, Response, abort, redirect
from sqlalchemy.exc import (
    DatabaseError,
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
    TimeoutError as PoolTimeout,
)
from werkzeug.exceptions import HTTPException, RequestedRangeNotSatisfiable
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response as BaseResponse

from idrl_common.problems import FieldError, Problem


def answer_to(app: Flask, error: Exception) -> TestResponse:
    @app.get("/fails")
    def fails() -> Response:
        raise error

    return app.test_client().get("/fails")


def assert_problem(answer: TestResponse, status: int, code: str) -> dict[str, object]:
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    body = answer.json
    assert body is not None
    assert set(body) - {"errors"} == {"type", "title", "status", "detail", "code", "request_id"}
    assert (body["type"], body["status"], body["code"]) == (
        f"urn:idrl:problem:{code}",
        status,
        code,
    )
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert body["detail"].endswith(".")
    return dict(body)


def test_problem_is_answered_with_its_fields(app: Flask) -> None:
    errors: list[FieldError] = [{"field": "name", "code": "missing", "message": "Field required"}]
    problem = Problem(400, "invalid_body", "It is wrong.", errors, {"Retry-After": "7"})
    answer = answer_to(app, problem)
    body = assert_problem(answer, 400, "invalid_body")
    assert (body["title"], body["detail"], body["errors"]) == (
        "Bad Request",
        "It is wrong.",
        errors,
    )
    assert answer.headers["Retry-After"] == "7"


def test_an_exception_of_the_table_is_translated(app: Flask, name_taken: type[Exception]) -> None:
    body = assert_problem(answer_to(app, name_taken("This name is taken.")), 409, "name_taken")
    assert body["detail"] == "This name is taken."


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [({}, "Bearer"), ({"WWW-Authenticate": 'Bearer error="x"'}, 'Bearer error="x"')],
)
def test_a_401_always_has_a_challenge(app: Flask, headers: dict[str, str], challenge: str) -> None:
    answer = answer_to(app, Problem(401, "bad_credentials", "No.", headers=headers))
    assert answer.headers.getlist("WWW-Authenticate") == [challenge]


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("SELECT secret", {}, Exception("secret")),
        InterfaceError("SELECT secret", {}, Exception("secret")),
        DatabaseError("SELECT secret", {}, Exception("secret"), connection_invalidated=True),
        PoolTimeout("secret"),
    ],
)
def test_a_database_that_is_unavailable_is_503(app: Flask, error: Exception) -> None:
    answer = answer_to(app, error)
    assert_problem(answer, 503, "database_unavailable")
    assert answer.headers["Retry-After"] == "5"
    assert b"secret" not in answer.data


class DriverError(Exception):
    """An error as psycopg2 makes it of the server's code."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__("secret")
        self.pgcode = sqlstate


@pytest.mark.parametrize(
    ("kind", "sqlstate"),
    [
        *((OperationalError, code) for code in ("53100", "53200", "57014", "57P03", "40P01")),
        (InternalError, "25006"),
    ],
)
def test_a_database_that_cannot_do_it_now_is_503(
    app: Flask, kind: type[DBAPIError], sqlstate: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = answer_to(app, kind("SELECT secret", {}, DriverError(sqlstate)))
    assert_problem(answer, 503, "database_unavailable")
    assert f"{kind.__name__} {sqlstate}" in caplog.text


@pytest.mark.parametrize("sqlstate", ["26000", "34000", "54023", "55000"])
def test_statement_that_can_never_succeed_is_a_bug(app: Flask, sqlstate: str) -> None:
    error = OperationalError("SELECT secret", {}, DriverError(sqlstate))
    assert_problem(answer_to(app, error), 500, "internal_error")


@pytest.mark.parametrize(
    "error", [DatabaseError("SELECT secret", {}, Exception("secret")), KeyError("secret")]
)
def test_unexpected_exception_reveals_nothing(app: Flask, error: Exception) -> None:
    answer = answer_to(app, error)
    assert_problem(answer, 500, "internal_error")
    assert b"secret" not in answer.data


def test_an_unknown_path(app: Flask) -> None:
    assert_problem(app.test_client().get("/nowhere"), 404, "not_found")


def test_wrong_method_is_answered_with_allow(app: Flask) -> None:
    @app.get("/readable")
    def read() -> str:
        return ""

    answer = app.test_client().delete("/readable")
    assert_problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_wrong_range_is_answered_with_the_length(app: Flask) -> None:
    answer = answer_to(app, RequestedRangeNotSatisfiable(1000))
    assert_problem(answer, 416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == "bytes */1000"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "bad_request"),
        (404, "not_found"),
        (412, "precondition_failed"),
        (413, "body_too_large"),
        (415, "unsupported_media_type"),
        (429, "too_many_requests"),
    ],
)
def test_every_http_status_has_a_code(app: Flask, status: int, code: str) -> None:
    with pytest.raises(HTTPException) as caught:
        abort(status)
    assert_problem(answer_to(app, caught.value), status, code)


def test_redirect_is_not_made_a_problem(app: Flask) -> None:
    @app.get("/old")
    def old() -> BaseResponse:
        return abort(redirect("/new"))

    answer = app.test_client().get("/old")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/new")
