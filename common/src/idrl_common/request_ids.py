"""The ids that follow a piece of work through every process: in headers, in log lines, in rows."""

import random
import re
import time
from contextvars import ContextVar

from flask import Flask, Response, request

HEADER = "X-Request-Id"
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
task_id: ContextVar[str | None] = ContextVar("task_id", default=None)
# W3C Trace Context: the caller's, passed on as it came, since nothing here makes spans.
TRACE_HEADER = "traceparent"
traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)
_begun_s: ContextVar[float] = ContextVar("begun_s")

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_ACCEPTED = re.compile(r"[A-Za-z0-9-]{8,64}")


def install(app: Flask) -> None:
    """Give each request an id, the caller's own if well-formed, and add it to the response."""

    @app.before_request
    def begin() -> None:
        _begun_s.set(time.perf_counter())
        sent = request.headers.get(HEADER, "")
        # No secret, so `random` is enough; os.urandom is a system call that releases the GIL.
        request_id.set(sent if _ACCEPTED.fullmatch(sent) else f"{random.getrandbits(128):032x}")

        trace = request.headers.get(TRACE_HEADER)
        traceparent.set(trace if trace and _TRACEPARENT.fullmatch(trace) else None)

    @app.after_request
    def add_header(response: Response) -> Response:
        response.headers[HEADER] = request_id.get() or ""
        return response


def headers() -> dict[str, str]:
    """Return the headers that carry the current request's ids to another service."""
    trace = traceparent.get()
    return {HEADER: request_id.get() or "", **({TRACE_HEADER: trace} if trace else {})}


def elapsed_s() -> float:
    """Return how long ago the current request came in."""
    return time.perf_counter() - _begun_s.get()
