"""The operators' calls: the system's state, and pausing and resuming a kind of work."""

from typing import Any, Literal

from flask import Blueprint, Response, jsonify

from idrl_common.access import require_operator
from idrl_common.validation import Body, parse_body
from worker_server.api import system_status
from worker_server.queue import pauses
from worker_server.queue.claims import Kind
from worker_server.share_monitor import ShareMonitor


class KindOfWork(Body):
    """The body of POST /status/pause and /status/resume."""

    kind: Literal["fetch", "render"]


def blueprint(share: ShareMonitor) -> Blueprint:
    """Return the routes, all for operators only."""
    routes = Blueprint("operators", __name__, url_prefix="/status")
    routes.before_request(require_operator)
    use = system_status.AccountUse()

    @routes.get("")
    def show_status() -> Response:
        return _private_json(system_status.document(share, use))

    @routes.post("/pause")
    def pause() -> Response:
        kind = Kind(parse_body(KindOfWork).kind)
        pauses.pause(kind)
        return _private_json(system_status.kind_document(kind))

    @routes.post("/resume")
    def resume() -> Response:
        kind = Kind(parse_body(KindOfWork).kind)
        pauses.resume(kind)
        return _private_json(system_status.kind_document(kind))

    return routes


def _private_json(document: dict[str, Any]) -> Response:
    response = jsonify(document)
    response.headers["Cache-Control"] = "private, no-cache"
    return response
