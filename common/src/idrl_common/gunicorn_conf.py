"""How both apps are served: `gunicorn --config python:idrl_common.gunicorn_conf`.

The command line wins over this module.
"""

import json
import logging
import os
import re
import socket
import uuid
from typing import TYPE_CHECKING, Any

import gunicorn.http.message
import gunicorn.util
from gunicorn.glogging import Logger
from prometheus_client import multiprocess

from idrl_common import logs
from idrl_common.gunicorn_reload import RELOAD

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

worker_class = "idrl_common.gunicorn_worker.StatusFirstWorker"
threads = 8
# Longer than the 60 s for which nginx keeps idle connections, so that nginx closes them first.
keepalive = 75
graceful_timeout = 10
# Not below nginx's limits: nginx refuses with 414 or 431, gunicorn's refusals all become 400.
limit_request_line = 8190
limit_request_fields = 32768
# What nginx sets. gunicorn refuses requests whose headers about TLS contradict each other, and
# nginx passes on those of a proxy before it (X-Forwarded-Ssl).
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
forwarder_headers = ""
# The control socket is not used, and all gunicorns of a user would share its default path.
control_socket_disable = True


class logger_class(Logger):  # type: ignore[misc] # noqa: N801 # gunicorn looks for this name; it has no types
    """Writes gunicorn's own messages to the app's log, as JSON."""

    def setup(self, cfg: Any) -> None:  # noqa: ANN401 # gunicorn has no types
        super().setup(cfg)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True
        if not logging.getLogger().handlers:
            logs.configure("gunicorn")


def _write_problem(connection: socket.socket, status: int, reason: str, _: str) -> None:
    """Answer a request that gunicorn cannot parse with a problem, as everything else is answered.

    nginx passes on some requests that gunicorn refuses, such as a control byte in a header. By the
    X-Accel-Redirect nginx answers with its own problem, whose request id is the one in its log.
    """
    code = "bad_request" if status < 500 else "not_implemented"
    detail = "This is not a well-formed HTTP request."
    request_id = uuid.uuid4().hex
    problem = {"type": f"urn:idrl:problem:{code}", "title": reason, "status": status}
    problem |= {"detail": detail, "code": code, "request_id": request_id}
    body = json.dumps(problem).encode()
    lines = [f"HTTP/1.1 {status} {reason}", "Connection: close", f"X-Request-Id: {request_id}"]
    lines += ["Content-Type: application/problem+json", f"Content-Length: {len(body)}"]
    lines += ["X-Accel-Redirect: /_bad_request"] if status < 500 else []
    gunicorn.util.write_nonblock(connection, "\r\n".join([*lines, "", ""]).encode() + body)


# gunicorn has no setting for error pages: its workers look up `write_error` in this module.
gunicorn.util.write_error = _write_problem


# gunicorn takes printable ASCII alone, without a setting for it, but curl and others send letters
# of a query as UTF-8. No path here has any.
gunicorn.http.message.RFC9112_TARGET_INVALID = re.compile(r"^[^?]*[^\x21-\x7e]|[\x00-\x20\x7f]")


def on_reload(arbiter: "Arbiter") -> None:
    """Let the current workers answer until as many new ones do."""
    RELOAD.begin(arbiter.worker_age)


def post_worker_init(worker: "Worker") -> None:
    """Record that a worker has imported the app."""
    RELOAD.record_started(worker.age)


def child_exit(_: "Arbiter", worker: "Worker") -> None:
    """Remove the gauges of a worker process that has ended."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call] # the library leaves it untyped
