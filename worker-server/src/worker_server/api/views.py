"""The `/tasks` calls that make tasks and read them: each parses, calls one service and answers."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from flask import Blueprint, Response, jsonify, request
from werkzeug.wrappers import Response as BaseResponse

from idrl_common import request_ids
from idrl_common.access import caller
from idrl_common.settings import MAX_TASK_BODY_BYTES
from idrl_common.validation import parse_body, parse_query
from worker_server.api import rate_limits, services, task_reads
from worker_server.api.brand_choices import with_brand
from worker_server.api.caller_urls import check_callback_url
from worker_server.api.clip_names import clip_name, stem_of
from worker_server.api.clip_queries import get_clip
from worker_server.api.clips import ClipGone, ClipSender
from worker_server.api.idempotency import idempotent_request
from worker_server.api.ids import parse_id
from worker_server.api.labels import default_name
from worker_server.api.queries import CountedTask, TaskNotFound
from worker_server.api.schemas import (
    EventListQuery,
    NewTask,
    TaskListQuery,
    task_document,
)
from worker_server.api.slots import slots_for
from worker_server.edits import Edit
from worker_server.fetching import check_url
from worker_server.queue.estimates import QueueEstimates
from worker_server.queue.idempotency import IdempotentRequest
from worker_server.queue.quotas import LimitState
from worker_server.queue.submissions import Submission
from worker_server.settings import Settings, current
from worker_server.share_monitor import ShareMonitor

Answer = tuple[Response, int]
# A list of 1000 tasks takes as much CPU time as 50 short calls.
_LONG_LIST = 200
_MAX_LONG_LISTS, _MAX_LONG_LISTS_PER_ACCOUNT = 6, 2


def blueprint(clips: ClipSender, share: ShareMonitor) -> Blueprint:
    """Return the routes; `idrl_common.access` has identified the caller of each."""
    routes = Blueprint("tasks", __name__, url_prefix="/tasks")
    estimates = QueueEstimates()
    long_lists = slots_for("long lists", _MAX_LONG_LISTS, _MAX_LONG_LISTS_PER_ACCOUNT)

    @routes.post("")
    def create_task() -> tuple[Response, int, dict[str, str]]:
        request.max_content_length = MAX_TASK_BODY_BYTES
        body = parse_body(NewTask)
        key = idempotent_request(body)
        task, limits = _repeated(key) or _accepted(body, key, share)
        document = task_document(task)
        headers = {"Location": document["link"], **rate_limits.headers_of(limits)}
        return jsonify(document), 202, headers

    @routes.get("")
    def list_tasks() -> Response:
        query = parse_query(TaskListQuery)
        blocked_by = services.blocked_by(share)
        owner_id = caller().user_id
        with long_lists.slot(owner_id) if query.max > _LONG_LIST else nullcontext():
            return task_reads.page_response(owner_id, query, blocked_by, estimates)

    @routes.get("/<task_id>")
    def get_task(task_id: str) -> Response:
        key = parse_id(task_id, TaskNotFound)
        blocked_by = services.blocked_by(share)
        return task_reads.task_response(caller().user_id, key, blocked_by, estimates)

    @routes.get("/<task_id>/events")
    def list_events(task_id: str) -> Response:
        query, owner_id = parse_query(EventListQuery), caller().user_id
        return task_reads.events_response(owner_id, parse_id(task_id, TaskNotFound), query)

    @routes.get("/<task_id>/parts/<int:number>")
    def download_part(task_id: str, number: int) -> BaseResponse:
        key = parse_id(task_id, TaskNotFound)
        clip = get_clip(caller().user_id, key, number)
        name = clip_name(stem_of(clip.task_name), number, clip.name, clip.parts_total)
        try:
            return clips.response(name, clip.path, clip.sha256, caller().user_id)
        except ClipGone:
            raise services.record_lost_clip(clip) from None

    return routes


Stored = tuple[CountedTask, Sequence[LimitState]]


def _repeated(key: IdempotentRequest) -> Stored | None:
    """Return what an earlier request with the same Idempotency-Key has stored."""
    repeated = services.repeated_task(key)
    return None if repeated is None else (repeated, ())


def _accepted(body: NewTask, key: IdempotentRequest, share: ShareMonitor) -> Stored:
    """Store the task; raise UrlRefused, QuotaExceeded or a Problem."""
    settings = current()
    _check_source(body, settings)
    check_callback_url(body.callback_url)
    services.admit(share)
    complete = (body.edit or Edit()).with_defaults(settings.part_seconds)
    submission = submission_of(body, with_brand(key.owner_id, complete), key)
    return services.submit_task(submission, settings.quotas)


def _check_source(body: NewTask, settings: Settings) -> None:
    """Raise UrlRefused for a URL that could never be fetched."""
    if body.upload_id is None:
        allow, deny = settings.fetch_allow_hosts, settings.fetch_deny_hosts
        check_url(body.url, allow_hosts=allow, deny_hosts=deny)


def submission_of(body: NewTask, edit: dict[str, Any], key: IdempotentRequest) -> Submission:
    """Return the task to be accepted; `edit` is complete, with its brand."""
    return Submission(
        owner_id=key.owner_id,
        url=body.source_url,
        name=body.name or (default_name(body.url) if body.url else None),
        external_id=body.external_id,
        metadata=body.metadata,
        edit=edit,
        starts_manually=body.start == "manual",
        request_id=request_ids.request_id.get(),
        traceparent=request_ids.traceparent.get(),
        idempotency_key=key.idempotency_key,
        body_sha256=key.body_sha256,
        callback_url=body.callback_url,
    )
