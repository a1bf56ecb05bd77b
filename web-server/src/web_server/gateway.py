"""The gateway: forwards calls to the tasks service and relays its answers."""

import errno
import logging
import re
import shutil
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from flask import Blueprint, Response, request
from sqlalchemy.exc import SQLAlchemyError
from urllib3 import BaseHTTPResponse, Timeout
from urllib3.exceptions import HTTPError
from werkzeug.exceptions import MethodNotAllowed, NotFound

from idrl_common import request_ids
from idrl_common.access import caller
from idrl_common.problems import Problem
from idrl_common.settings import MAX_BATCH_BODY_BYTES, MAX_TASK_BODY_BYTES
from idrl_common.token_verifier import bearer_token
from idrl_common.validation import read_body
from web_server import accounts, ranges
from web_server.authentication import exchanged_token, reads_account_now
from web_server.tasks_client import TasksService, release

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# Any other header concerns one hop (RFC 9110 §7.6.1), or is not meant for the tasks service.
_REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Accept",
    "Range",
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
    "If-Range",
    "Idempotency-Key",
)
_RESPONSE_HEADERS = (
    "Content-Type",
    "Content-Length",
    "Content-Range",
    "Content-Disposition",
    "Accept-Ranges",
    "ETag",
    "Last-Modified",
    "Cache-Control",
    "Location",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "Link",
    "Allow",
    "WWW-Authenticate",
)
_CHUNK_BYTES = 64 * 1024
_CLIP = re.compile(r"/tasks/[0-9A-Za-z-]+/parts/[0-9]+")
# With any other method the tasks service would take the last word for a brand's or webhook's id.
_ALLOWED_METHODS = {
    "/brands/default": ("GET", "HEAD", "PUT"),
    "/webhooks/callback-secret": ("GET", "HEAD", "POST", "DELETE"),
}
_LINKS = re.compile(r"/tasks/[^/]+/links")
# Files that nginx fetches itself, so that slow callers occupy no thread of this app.
_FILE = re.compile(
    r"/(tasks|batches)/([^/]+)/(?:parts/([0-9]+)(/poster\.jpg)?|(clips\.zip|contact-sheet\.jpg))"
)
# A percent sign that begins no escape: urllib3 would encode those of all escapes once more.
_STRAY_PERCENT = re.compile(b"%(?![0-9A-Fa-f]{2})")
_SHA256_TAG = re.compile('"([0-9a-f]{64})"')
# Kept free for clips that nginx is still writing: max_size of its cache does not count them.
_RESERVED_BYTES = 2 * 1024**3
# nginx then waits up to 8 s for the clip, and a call is answered within 15 s. The tasks service
# waits up to 5 s for the share.
_CHECK_TIMEOUT_S = 6
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clips:
    """How clips reach the caller: with `accel_redirect` by nginx, which caches some on `disk`."""

    accel_redirect: bool
    disk: Path | None

    def may_be_cached(self) -> bool:
        """Return whether there is space: nginx truncates a clip that fills its disk."""
        return self.disk is not None and shutil.disk_usage(self.disk).free >= _RESERVED_BYTES


def blueprint(service: TasksService, clips: Clips) -> Blueprint:
    """Return the routes of the tasks service: /tasks, /batches and the others below."""
    routes = Blueprint("gateway", __name__)

    @routes.route("/tasks", methods=METHODS)
    @routes.route("/tasks/<path:rest>", methods=METHODS)
    @routes.route("/usage", methods=METHODS)
    @routes.route("/status", methods=METHODS)
    @routes.route("/status/<path:rest>", methods=METHODS)
    @routes.route("/brands", methods=METHODS)
    @routes.route("/brands/<path:rest>", methods=METHODS)
    @routes.route("/batches", methods=METHODS)
    @routes.route("/batches/<path:rest>", methods=METHODS)
    def forward(rest: str = "") -> Response:
        return _forward(service, clips, rest)

    @routes.route("/webhooks", methods=METHODS)
    @routes.route("/webhooks/<path:rest>", methods=METHODS)
    @reads_account_now
    def forward_webhooks(rest: str = "") -> Response:
        response = _forward(service, clips, rest)
        if response.status_code == HTTPStatus.CREATED:
            _keep_only_of_valid_caller(service, response)
        return response

    @routes.route("/uploads", methods=METHODS)
    @routes.route("/uploads/<upload_id>", methods=METHODS)
    def check_upload_access(upload_id: str = "") -> Response:
        """Answer nginx's authorization subrequest for /uploads with the tasks service's token.

        A caller without a valid token or key was refused with 401 before this view.
        """
        if upload_id:  # sent by nginx's @web_refusal, to get the body of a refusal
            raise NotFound
        token = exchanged_token() or bearer_token()
        return Response(status=204, headers={"X-Accel-Authorization": f"Bearer {token}"})

    return routes


def _forward(service: TasksService, clips: Clips, rest: str) -> Response:
    """Answer the current request with what the tasks service answers; `rest` is its path's end."""
    if {".", ".."} & set(rest.split("/")):
        raise NotFound
    if _LINKS.fullmatch(request.path):
        return _allow_only(["POST"])
    methods = _ALLOWED_METHODS.get(request.path.rstrip("/"))
    if methods is not None and request.method not in methods:
        return _allow_only(methods)
    if request.path.rstrip("/") == "/batches":
        request.max_content_length = MAX_BATCH_BODY_BYTES
    elif request.method in ("POST", "PATCH"):
        request.max_content_length = MAX_TASK_BODY_BYTES
    if clips.accel_redirect and request.method in ("GET", "HEAD") and (path := _file_path()):
        return file_response(service, clips, path)
    return relay(service.send(request.method, _target(), request_headers(), read_body() or None))


def _keep_only_of_valid_caller(service: TasksService, created: Response) -> None:
    """Delete what the response has created where the caller's token or key has ended meanwhile.

    Raise a 401 Problem then. The account is not locked during the call, which may take long.
    """
    try:
        with accounts.valid_caller(caller()):
            pass
    except (Problem, SQLAlchemyError):
        release(service.send("DELETE", created.headers["Location"], request_headers(), None))
        created.close()
        raise


def _file_path() -> str | None:
    """Return the path of the call's file as its link has it, however it is written; else None."""
    match = _FILE.fullmatch(request.path.rstrip("/"))
    if match is None:
        return None
    kind, key, number, poster, name = match.groups()
    try:
        return f"/{kind}/{uuid.UUID(key)}/" + (name or f"parts/{int(number)}{poster or ''}")
    except ValueError:
        return None


def _allow_only(methods: Sequence[str]) -> Response:
    """Answer a call whose method is none of these: OPTIONS with the list, any other with 405."""
    allowed = [*methods, "OPTIONS"]
    if request.method != "OPTIONS":
        raise MethodNotAllowed(allowed)
    return Response(headers={"Allow": ", ".join(allowed)})


def file_response(service: TasksService, clips: Clips, path: str, query: str = "") -> Response:
    """Answer the current GET or HEAD with the file that the tasks service has at `path`."""
    target = f"{path}?{query}" if query else path
    if not clips.accel_redirect:
        return relay(service.send(request.method, target, request_headers(), None))
    is_cacheable = _CLIP.fullmatch(path) and ranges.can_nginx_answer()
    if is_cacheable and clips.may_be_cached():
        return _cached_clip(service, path)
    return _accel_redirect(f"/_tasks{target}")


def _target() -> str:
    """Return path and query encoded again as the route matched them: services see one path."""
    path = quote(request.path, safe="/:@!$&'()*+,;=")
    query = quote(_STRAY_PERCENT.sub(b"%25", request.query_string), safe="/?:@!$&'()*+,;=%")
    return f"{path}?{query}" if query else path


def request_headers(names: Collection[str] = _REQUEST_HEADERS) -> dict[str, str]:
    """Return the headers of the call to the tasks service: those of the caller's that are named."""
    headers = {name: request.headers[name] for name in names if name in request.headers}
    if token := exchanged_token():
        headers["Authorization"] = f"Bearer {token}"
    return {**headers, **request_ids.headers()}


def _cached_clip(service: TasksService, path: str) -> Response:
    """Ask the tasks service for the clip's headers, then send nginx to its cache for the bytes.

    The tasks service decides about access, conditions and ranges. nginx sees only calls that are
    answered with bytes; any other answer of the tasks service is passed on as it is.
    """
    answer = service.send("HEAD", path, request_headers(), None, Timeout(total=_CHECK_TIMEOUT_S))
    if request.method == "HEAD" or answer.status == HTTPStatus.NOT_MODIFIED:
        return relay(answer)
    release(answer)
    tag = _SHA256_TAG.fullmatch(answer.headers.get("ETag", ""))
    if tag is None or answer.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        return _accel_redirect(f"/_tasks{path}")
    response = _accel_redirect(f"/_clips/{tag[1]}{path}")
    if name := answer.headers.get("Content-Disposition"):
        response.headers["Content-Disposition"] = name  # the cached one may be older
    if answer.status == HTTPStatus.PARTIAL_CONTENT:
        response.accept_ranges = "bytes"
    return response


def _accel_redirect(path: str) -> Response:
    """Return a response that nginx replaces by that of the internal location `path`."""
    response = Response(headers={"X-Accel-Redirect": path})
    if token := exchanged_token():
        response.headers["X-Accel-Authorization"] = f"Bearer {token}"
    del response.headers["Content-Type"]  # else nginx keeps it instead of the clip's own type
    return response


def relay(answer: BaseHTTPResponse) -> Response:
    """Return the tasks service's answer as a response that streams its body."""
    headers = [(name, answer.headers[name]) for name in _RESPONSE_HEADERS if name in answer.headers]
    response = Response(_chunks(answer), answer.status, direct_passthrough=True)
    del response.headers["Content-Type"]
    response.headers.extend(headers)
    response.call_on_close(lambda: release(answer))
    return response


def _chunks(answer: BaseHTTPResponse) -> Iterator[bytes]:
    try:
        yield from answer.stream(_CHUNK_BYTES, decode_content=False)
    except HTTPError as error:
        _log.warning("the tasks service ended a response before its end: %s", type(error).__name__)
        # gunicorn then closes the connection, which tells the caller that the answer is incomplete.
        raise ConnectionResetError(
            errno.ECONNRESET, "the tasks service broke off its response"
        ) from error
