"""Log lines as JSON, one object a line, each with the request or task it belongs to."""

import json
import logging
import re
import sys
from datetime import UTC, datetime

from flask import Flask, Response, g, request
from pydantic_core import to_json
from pythonjsonlogger.json import JsonFormatter

from idrl_common import request_ids

# A JWT in a path is a share link's: who has it may download. Its first characters encode `{"`.
# What only begins like one matches too, as it would else be read again from each `eyJ` in it.
_TOKEN = re.compile(r"eyJ[\w-]*+(\.[\w-]*+\.[\w-]*+)?")
# Where it stands in a path, also one that was changed on its way, as by a line break in a mail.
_OF_SHARE = re.compile(r"(?<=^/s/)[^/]+")
_access = logging.getLogger("access")


class _AddIds(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_ids.request_id.get()
        record.task_id = getattr(record, "task_id", None) or request_ids.task_id.get()
        if trace := request_ids.traceparent.get():
            record.traceparent = trace
        return True


def _without_tokens(text: str) -> str:
    return _TOKEN.sub(lambda match: match[0] if match[1] is None else "-", text)


def _as_json(fields: object, **_: object) -> str:
    try:
        return to_json(fields, fallback=str).decode()
    except ValueError:  # a lone surrogate, which file names may contain
        return json.dumps(fields, default=str)


class _Formatter(JsonFormatter):
    """The library's formatter, with a shortcut for access lines, whose cost is formatting."""

    def format(self, record: logging.LogRecord) -> str:
        access = getattr(record, "access", None)
        if access is None:  # such as Flask's line on an exception, which has the call's path
            return _without_tokens(super().format(record))
        return _as_json(self._access_line(record, access))

    def _access_line(
        self, record: logging.LogRecord, access: dict[str, object]
    ) -> dict[str, object]:
        return {
            "level": record.levelname,
            "logger": record.name,
            "message": record.msg,
            "request_id": request_ids.request_id.get(),
            "task_id": request_ids.task_id.get(),
            **self.static_fields,
            **access,
            "time": datetime.fromtimestamp(record.created, UTC),
        }


def configure(service: str, level: str = "INFO") -> None:
    """Send every logger of this process to standard error, as JSON. Safe to call twice."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_AddIds())
    handler.setFormatter(
        _Formatter(
            "{levelname}{name}{message}{request_id}{task_id}",
            style="{",
            timestamp="time",
            rename_fields={"levelname": "level", "name": "logger"},
            static_fields={"service": service},
            json_serializer=_as_json,
        )
    )
    # urllib3 logs whole URLs, whose query may hold a secret.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    # Each record would look up its process and thread, which no line names.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)


def install(app: Flask) -> None:
    """Write one line for every request: never its query, its body, or a header but traceparent.

    The line names the account, and the code of a refusal. Needs `request_ids`.
    """

    @app.after_request
    def write(response: Response) -> Response:
        if _access.isEnabledFor(logging.INFO):
            elapsed_ms = round(request_ids.elapsed_s() * 1000, 1)
            access = {
                "method": request.method,
                "path": _without_tokens(_OF_SHARE.sub("-", request.path)),
                "status": response.status_code,
            }
            extra = {"access": {**access, "elapsed_ms": elapsed_ms, **_caller_and_refusal()}}
            # `info` would walk the stack for the caller's line number.
            _access.handle(
                _access.makeRecord(
                    _access.name, logging.INFO, "", 0, "request", (), None, extra=extra
                )
            )
        return response


def _caller_and_refusal() -> dict[str, object]:
    """Return who made the current request, why it was refused, and its trace, where known."""
    fields: dict[str, object] = {}
    if identity := g.get("identity"):
        fields["account"] = identity.user_id
    if code := g.get("problem_code"):
        fields["refusal"] = code
    if trace := request_ids.traceparent.get():
        fields["traceparent"] = trace
    return fields
