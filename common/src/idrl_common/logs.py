"""Log lines as JSON, one object a line, each with the request or task it belongs to."""

import json
import logging
import sys
import time

from flask import Flask, Response, g, request
from pydantic_core import to_json
from pythonjsonlogger.json import JsonFormatter

from idrl_common import context

_access = logging.getLogger("access")


class _AddIds(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = context.request_id.get()
        record.task_id = getattr(record, "task_id", None) or context.task_id.get()
        return True


def _as_json(fields: object, **_: object) -> str:
    try:
        return to_json(fields, fallback=str).decode()
    except ValueError:  # half a surrogate pair, as names of files may hold
        return json.dumps(fields, default=str)


def configure(service: str, level: str = "INFO") -> None:
    """Send every logger of this process to standard error, as JSON. Safe to call twice."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_AddIds())
    handler.setFormatter(
        JsonFormatter(
            "{levelname}{name}{message}{request_id}{task_id}",
            style="{",
            timestamp="time",
            rename_fields={"levelname": "level", "name": "logger"},
            static_fields={"service": service},
            json_serializer=_as_json,
        )
    )
    # Its warnings and debug lines quote whole addresses, and a query may hold a secret.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)


def install(app: Flask) -> None:
    """Write one line for every request: never its query, its headers or its body."""

    @app.before_request
    def start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def write(response: Response) -> Response:
        elapsed_ms = round((time.perf_counter() - g.started) * 1000, 1) if "started" in g else None
        extra = {"method": request.method, "path": request.path, "status": response.status_code}
        _access.info("request", extra={**extra, "elapsed_ms": elapsed_ms})
        return response
