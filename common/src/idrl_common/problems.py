"""The one shape of every error: application/problem+json (RFC 9457), with a stable `code`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypedDict

from flask import Flask, Response, current_app, g
from gunicorn.http.errors import ParseException
from sqlalchemy.exc import DBAPIError, TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from idrl_common import request_ids
from idrl_common.database import is_outage, sqlstate

MEDIA_TYPE = "application/problem+json"
_KEPT_HEADERS = ("Allow", "Content-Range", "Retry-After")
# Statuses that get Retry-After if the problem sets none.
_TRANSIENT = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
_RETRY_AFTER_S = 5
_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    412: "precondition_failed",
    413: "body_too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
    429: "too_many_requests",
    500: "internal_error",
}
# Statuses that HTTP itself does not have: tus 1.0, extension "checksum".
_TITLES = {460: "Checksum Mismatch"}
_MESSAGES = {
    404: "There is nothing at this address.",
    413: "The body is larger than this call accepts.",
    500: "Something went wrong on our side; the request id helps us to find it.",
}


class FieldError(TypedDict):
    """What is wrong with one field: `code` is stable, `message` is for people."""

    field: str
    code: str
    message: str


@dataclass
class Problem(Exception):
    """An answer other than success: views raise it, the app's edge makes a response of it."""

    status: int
    code: str
    detail: str
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


# The answer that an exception of a service becomes: its status and code, and the seconds of
# Retry-After if there are any, with the exception's own text as the detail; or a function that
# returns the whole problem.
Answer = tuple[int, str] | tuple[int, str, int] | Callable[[Any], Problem]
ProblemMap = Mapping[type[Exception], Answer]


def install(app: Flask, problem_map: ProblemMap) -> None:
    """Answer every error as a problem: the app's exceptions, HTTP's, the database's, bugs."""
    app.register_error_handler(Problem, respond)
    app.register_error_handler(HTTPException, _from_http)
    app.register_error_handler(ParseException, _malformed_body)
    app.register_error_handler(PoolTimeout, _database_unavailable)
    app.register_error_handler(DBAPIError, _database_error)
    for error, answer in problem_map.items():
        app.register_error_handler(error, _handler(answer))


def respond(problem: Problem) -> Response:
    """Return the response that says `problem`; the access line has its code."""
    g.problem_code = problem.code
    body: dict[str, object] = {
        "type": f"urn:idrl:problem:{problem.code}",
        "title": _title(problem.status),
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "request_id": request_ids.request_id.get(),
    }
    if problem.errors:
        body["errors"] = list(problem.errors)
    response = Response(
        current_app.json.dumps(body), status=problem.status, content_type=MEDIA_TYPE
    )
    response.headers.update(problem.headers)
    if problem.status in _TRANSIENT:
        response.headers.setdefault("Retry-After", str(_RETRY_AFTER_S))
    if problem.status == HTTPStatus.UNAUTHORIZED:
        # RFC 9110 §15.5.2 requires a challenge.
        response.headers.setdefault("WWW-Authenticate", "Bearer")
    return response


def _title(status: int) -> str:
    return _TITLES.get(status) or HTTPStatus(status).phrase


def _from_http(error: HTTPException) -> BaseResponse:
    status = error.code or 500
    if status < 400:  # a redirect is an HTTPException too
        return error.get_response()
    text = _MESSAGES.get(status, error.description or HTTPStatus(status).phrase)
    headers = {name: value for name, value in error.get_headers() if name in _KEPT_HEADERS}
    return respond(Problem(status, _CODES.get(status, "bad_request"), text, headers=headers))


def _malformed_body(_: ParseException) -> Response:
    return respond(Problem(400, _CODES[400], "The chunks of the body are not well-formed."))


def _database_unavailable(error: Exception) -> Response:
    name = " ".join(filter(None, (type(error).__name__, sqlstate(error))))
    current_app.logger.warning("database unavailable: %s", name)
    return respond(
        Problem(503, "database_unavailable", "The database does not answer at the moment.")
    )


def _database_error(error: DBAPIError) -> Response:
    """Answer with 503 in an outage; any other error of the database is a bug."""
    if is_outage(error):
        return _database_unavailable(error)
    current_app.logger.error("database error", exc_info=error)
    return respond(Problem(500, _CODES[500], _MESSAGES[500]))


def _handler(answer: Answer) -> Callable[[Exception], Response]:
    def handle(error: Exception) -> Response:
        if not isinstance(answer, tuple):
            return respond(answer(error))
        status, code, *retry_after_s = answer
        headers = {"Retry-After": str(retry_after_s[0])} if retry_after_s else {}
        return respond(Problem(status, code, str(error), headers=headers))

    return handle
