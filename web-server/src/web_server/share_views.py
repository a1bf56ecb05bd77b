"""Share links: made by the owner of a task, which need no account, until they expire."""

import json
import re
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, jsonify, request
from sqlalchemy.exc import SQLAlchemyError
from urllib3 import Timeout

from idrl_common.access import caller
from idrl_common.problems import Problem
from idrl_common.times import utc_text
from idrl_common.validation import parse_body
from web_server import accounts, gateway, page, share_page
from web_server.authentication import Authenticator, reads_account_now
from web_server.gateway import Clips
from web_server.schemas import NewLink
from web_server.share_tokens import Share, ShareExpired, ShareInvalid, ShareTokens, share_url
from web_server.tasks_client import TasksService, TasksTimeout, TasksUnavailable, read_body

# Asks the tasks service to leave out the source's URL, `external_id` and `metadata`.
_WITHOUT_SECRETS = "shared=true"
_MAX_BODY_BYTES = 8 * 1024
# A browser shows nothing until it has the page, which shows what is wrong better than a delay.
_PREVIEW_TIMEOUT_S = 2
_NO_PREVIEW = (ShareInvalid, ShareExpired, TasksUnavailable, TasksTimeout, SQLAlchemyError, Problem)
# A host and its port as in a URL (RFC 3986 §3.2.2).
_HOST = re.compile(
    r"((?:[\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+|\[[0-9A-Fa-f:.]+\])(?::([0-9]*))?", re.ASCII
)
# Fields of a part that a share link shows.
_PART_FACTS = ("number", "segment", "name", "start_s", "end_s", "frames", "size_bytes", "sha256")


@dataclass(frozen=True)
class Links:
    """Makes share links, and answers callers who follow one."""

    tokens: ShareTokens
    authenticator: Authenticator
    tasks: TasksService
    clips: Clips

    def open(self, token: str, number: int | None = None) -> Share:
        """Return what the link shows, and act for its owner; raise if it is not part `number`."""
        share = self.tokens.verify(token)
        is_other_part = number is not None and share.part not in (None, number)
        if is_other_part or not self.authenticator.act_for(share.owner_id):
            raise ShareInvalid
        return share

    def open_task(self, token: str) -> Share:
        """Return what the link shows; raise if it is a part alone."""
        share = self.open(token)
        if share.part is not None:
            raise ShareInvalid
        return share

    def document_response(self, token: str) -> Response:
        """Return the document of the link, or the tasks service's answer where there is no task."""
        share = self.open(token)
        task = self.task(share.task_id)
        if isinstance(task, Response):
            return task
        response = _no_store(jsonify(_document(token, share, task)))
        response.headers["Vary"] = "Accept"
        return response

    def page_response(self, token: str) -> Response:
        """Return the page, without a preview where the link's task cannot be read soon."""
        try:
            share = self.open(token)
            task = self.task(share.task_id, Timeout(total=_PREVIEW_TIMEOUT_S))
            if not isinstance(task, Response):
                return share_page.response(_document(token, share, task), _base_url())
        except _NO_PREVIEW:
            pass  # the page asks for the document again and shows this error
        return page.document()

    def file_response(self, share: Share, path: str, query: str = "") -> Response:
        """Answer with what the tasks service has at `path` below the task."""
        return gateway.file_response(self.tasks, self.clips, f"/tasks/{share.task_id}{path}", query)

    def manifest_response(self, share: Share) -> Response:
        """Relay the manifest, which nginx then stores: it may be large, and its reader slow.

        What nginx fetches itself streams, as clips should, and holds a thread of the tasks service.
        """
        target = f"/tasks/{share.task_id}/manifest.json?{_WITHOUT_SECRETS}"
        headers = gateway.request_headers()
        return gateway.relay(self.tasks.send(request.method, target, headers, None))

    def task(self, task_id: uuid.UUID, timeout: Timeout | None = None) -> dict[str, Any] | Response:
        """Return the task's document, or the tasks service's answer where that is another one."""
        headers = gateway.request_headers(("Authorization",))
        answer = self.tasks.send("GET", f"/tasks/{task_id}", headers, None, timeout)
        if answer.status != HTTPStatus.OK:
            return gateway.relay(answer)
        task: dict[str, Any] = json.loads(read_body(answer))
        return task


def blueprint(links: Links) -> Blueprint:
    """Return the routes; those below /s are open to callers without a token of their own."""
    routes = Blueprint("shares", __name__)

    @routes.post("/tasks/<task_id>/links", provide_automatic_options=False)
    @reads_account_now
    def create_link(task_id: str) -> tuple[Response, int] | Response:
        request.max_content_length = _MAX_BODY_BYTES
        body = parse_body(NewLink)
        key = _task_id(task_id)
        task = links.task(key)
        if isinstance(task, Response):
            return task
        _require_part(task, body.part)
        expires_at_s = int(time.time()) + body.expires_in_s
        share = Share(caller().user_id, key, body.part, expires_at_s)
        with accounts.valid_caller(caller()):
            url = share_url(links.tokens, _base_url(), share)
        expires_at = utc_text(datetime.fromtimestamp(expires_at_s, UTC))
        return _no_store(jsonify(url=url, expires_at=expires_at)), 201

    @routes.get("/s/<token>")
    def show(token: str) -> Response:
        if share_page.is_wanted():
            return _no_store(links.page_response(token))
        return links.document_response(token)

    @routes.get("/s/<token>/parts/<int:number>")
    def download_part(token: str, number: int) -> Response:
        return links.file_response(links.open(token, number), f"/parts/{number}")

    @routes.get("/s/<token>/parts/<int:number>/poster.jpg")
    def get_poster(token: str, number: int) -> Response:
        return links.file_response(links.open(token, number), f"/parts/{number}/poster.jpg")

    @routes.get("/s/<token>/contact-sheet.jpg")
    def get_contact_sheet(token: str) -> Response:
        return links.file_response(links.open_task(token), "/contact-sheet.jpg")

    @routes.get("/s/<token>/clips.zip")
    def download_clips(token: str) -> Response:
        return links.file_response(links.open_task(token), "/clips.zip", _WITHOUT_SECRETS)

    @routes.get("/s/<token>/manifest.json")
    def get_manifest(token: str) -> Response:
        return links.manifest_response(links.open_task(token))

    return routes


def _base_url() -> str:
    """Return the address at which the owner called; raise a 400 Problem where it is not a host.

    Werkzeug's `host_url` has no host where its name has an underscore, as containers' may.
    """
    match = _HOST.fullmatch(request.headers.get("Host", ""))
    if match is None:
        message = "The Host header is not a valid host, so the link has no address."
        raise Problem(400, "bad_request", message)
    name, port = match.groups()
    is_default = port in (None, "", {"http": "80", "https": "443"}.get(request.scheme))
    return f"{request.scheme}://{name}" if is_default else f"{request.scheme}://{name}:{port}"


def _require_part(task: dict[str, Any], part: int | None) -> None:
    if part is not None and part not in (each["number"] for each in task["parts"]):
        raise Problem(404, "part_not_found", "The task has no part with this number.")


def _document(token: str, share: Share, task: dict[str, Any]) -> dict[str, Any]:
    """Return what the link's bearer may know: nothing of where the video came from."""
    link = f"/s/{token}"
    parts = [
        {name: part[name] for name in _PART_FACTS}
        | {"link": f"{link}/parts/{part['number']}"}
        | {"poster": f"{link}/parts/{part['number']}/poster.jpg"}
        for part in task["parts"]
        if part["status"] == "done" and share.part in (None, part["number"])
    ]
    is_whole = share.part is None
    return {
        "name": task["name"],
        "expires_at": utc_text(datetime.fromtimestamp(share.expires_at_s, UTC)),
        "parts": parts,
        "contact_sheet": f"{link}/contact-sheet.jpg" if is_whole else None,
        "clips_zip": f"{link}/clips.zip" if is_whole else None,
        "manifest": f"{link}/manifest.json" if is_whole else None,
    }


def _task_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise Problem(404, "task_not_found", "There is no task with this id.") from error


def _no_store(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response
