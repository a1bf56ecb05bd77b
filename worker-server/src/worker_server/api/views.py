"""The `/tasks` calls: each parses, calls one service and answers."""

import hashlib
import json
import uuid
from http import HTTPStatus
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

from flask import Blueprint, Response, jsonify, request
from werkzeug.utils import send_file
from werkzeug.wrappers import Response as BaseResponse
from werkzeug.wsgi import wrap_file

from idrl_common import request_ids
from idrl_common.problems import Problem, respond
from idrl_common.tokens import Identity, TokenVerifier, identify
from idrl_common.validation import parse_body, parse_query
from worker_server import storage
from worker_server.api import services
from worker_server.api.schemas import Listing, NewTask, task_document
from worker_server.api.services import PartTotals, Submission
from worker_server.fetching import UrlRefused, check_url
from worker_server.queue import wakeups
from worker_server.settings import current

_KEY_LENGTH = range(1, 256)
# Opening a file blocks for as long as a hard-mounted share is away: some threads must stay free for the other calls.
_opening = BoundedSemaphore(8)
_TURN_S = 5.0


def blueprint(verifier: TokenVerifier) -> Blueprint:
    """Return the routes; each call needs a token, whatever the gateway has checked before."""
    routes = Blueprint("tasks", __name__, url_prefix="/tasks")

    @routes.post("")
    def create_task() -> tuple[Response, int, dict[str, str]]:
        identity = identify(verifier)
        body = parse_body(NewTask)
        settings = current()
        check_url(
            body.url,
            allow_hosts=settings.fetch_allow_hosts,
            deny_hosts=settings.fetch_deny_hosts,
        )
        task, created = services.create_task(_submission(identity, body))
        if created:
            wakeups.send(wakeups.FETCH)
        accepted = services.facts_of(task)
        document = (
            task_document(accepted, PartTotals()) if created else _document(identity, task.id)
        )
        return jsonify(document), 202, {"Location": document["link"]}

    @routes.get("")
    def list_tasks() -> Response:
        identity = identify(verifier)
        query = parse_query(Listing)
        tasks = services.list_tasks(identity.user_id, query.max, newest_first=query.order == "1")
        return jsonify([task_document(task, totals) for task, totals in tasks])

    @routes.get("/<task_id>")
    def get_task(task_id: str) -> Response:
        return jsonify(_document(identify(verifier), _uuid(task_id), with_parts=True))

    @routes.delete("/<task_id>")
    def delete_task(task_id: str) -> tuple[Response, int]:
        identity = identify(verifier)
        key = _uuid(task_id)
        status = services.delete_task(identity.user_id, key)
        if status != "canceling":
            storage.remove_task(current().remote_folder, key)
        return jsonify(task_id=str(key), status=status), 202 if status == "canceling" else 200

    @routes.get("/<task_id>/parts/<int:number>")
    def download_part(task_id: str, number: int) -> BaseResponse:
        identity = identify(verifier)
        part = services.get_finished_part(identity.user_id, _uuid(task_id), number)
        return _clip(f"{part.task_id}-{number}.mp4", part.path or "", part.sha256 or "")

    return routes


def url_refused(error: UrlRefused) -> Response:
    """Answer a URL that cannot be taken, with the code that says why."""
    return respond(Problem(400, error.code, error.message))


def _document(
    identity: Identity, task_id: uuid.UUID, *, with_parts: bool = False
) -> dict[str, Any]:
    task, parts = services.get_task(identity.user_id, task_id)
    return task_document(task, PartTotals.of(parts), parts if with_parts else None)


def _clip(name: str, path: str, sha256: str) -> BaseResponse:
    """Stream a clip from the share: ranges and conditions are handled, and Python never holds the file."""
    if not _opening.acquire(timeout=_TURN_S):
        raise _share_away()
    try:
        return _file_response(name, path, sha256)
    finally:
        _opening.release()


def _file_response(name: str, path: str, sha256: str) -> BaseResponse:
    try:
        file = (current().remote_folder / path).absolute()
        response = _file_headers(file, name, sha256)
        if request.method == "GET" and response.status_code in (
            HTTPStatus.OK,
            HTTPStatus.PARTIAL_CONTENT,
        ):
            start = response.content_range.start or 0
            wanted = storage.FileRange(file, start, response.content_length or 0)
            response.response = wrap_file(request.environ, wanted)
    except OSError as error:
        raise _share_away() from error
    if response.status_code == HTTPStatus.PRECONDITION_FAILED:
        raise Problem(412, "precondition_failed", "The clip is not the one that If-Match names.")
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _file_headers(file: Path, name: str, sha256: str) -> BaseResponse:
    """Let werkzeug judge ranges and conditions, but leave the file to us: it would cut ranges out of it in Python."""
    response = send_file(
        file,
        request.environ,
        "video/mp4",
        download_name=name,
        conditional=True,
        etag=sha256,
        use_x_sendfile=True,
    )
    response.headers.pop("X-Sendfile", None)
    return response


def _share_away() -> Problem:
    sentence = "The clip's file cannot be read just now."
    return Problem(503, "storage_unavailable", sentence, headers={"Retry-After": "5"})


def _submission(identity: Identity, body: NewTask) -> Submission:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (len(key) in _KEY_LENGTH and key.isascii() and key.isprintable()):
        raise Problem(
            400,
            "idempotency_key_invalid",
            "Idempotency-Key must be 1 to 255 printable ASCII characters.",
        )
    canonical = json.dumps(body.model_dump(), sort_keys=True).encode()
    return Submission(
        owner_id=identity.user_id,
        url=body.url,
        request_id=request_ids.request_id.get(),
        idempotency_key=key,
        body_sha256=hashlib.sha256(canonical).hexdigest() if key else None,
    )


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise services.TaskNotFound("There is no task with this id.") from error
