"""The ids that follow a piece of work through every process: in headers, in log lines, in rows."""

import re
import uuid
from contextvars import ContextVar

from flask import Flask, Response, request

HEADER = "X-Request-Id"
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
task_id: ContextVar[str | None] = ContextVar("task_id", default=None)

_ACCEPTED = re.compile(r"[A-Za-z0-9-]{8,64}")


def install(app: Flask) -> None:
    """Give every request an id, the caller's own where it is harmless, and say it in the answer."""

    @app.before_request
    def begin() -> None:
        given = request.headers.get(HEADER, "")
        request_id.set(given if _ACCEPTED.fullmatch(given) else uuid.uuid4().hex)

    @app.after_request
    def say(response: Response) -> Response:
        response.headers[HEADER] = request_id.get() or ""
        return response
