"""The `/batches` calls: each parses, calls one service and answers."""

import threading
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

from flask import Blueprint, Response, jsonify, request
from pydantic_core import to_json

from idrl_common.access import caller
from idrl_common.cursors import Position
from idrl_common.paging import read_page
from idrl_common.problems import FieldError, Problem
from idrl_common.settings import MAX_BATCH_BODY_BYTES
from idrl_common.validation import parse_body, parse_query, read_body, validate_each
from worker_server.api import (
    batch_queries,
    change_conditions,
    long_documents,
    rate_limits,
    services,
    tags,
)
from worker_server.api.batch_documents import batch_document
from worker_server.api.batch_queries import BatchNotFound, BatchRow
from worker_server.api.brand_choices import with_brands
from worker_server.api.caller_urls import check_callback_url, url_error
from worker_server.api.edits import edits_of_items
from worker_server.api.idempotency import idempotent_request
from worker_server.api.ids import parse_id
from worker_server.api.schemas import BatchListQuery, NewBatch, NewTask
from worker_server.api.upload_choices import upload_errors
from worker_server.api.views import submission_of
from worker_server.db import fetch_json_within
from worker_server.edits import Edit
from worker_server.queue.batches import BatchSubmission
from worker_server.queue.cancellation import Deletion
from worker_server.queue.idempotency import IdempotentRequest
from worker_server.queue.quotas import LimitState
from worker_server.queue.submissions import Submission
from worker_server.settings import current
from worker_server.share_monitor import ShareMonitor

# The largest body takes 200 MiB while it is parsed, and up to 110 until it is answered: one parsed
# at a time and a few answered fit into the container's memory.
_PARSING = threading.Lock()


def blueprint(share: ShareMonitor) -> Blueprint:
    """Return the routes."""
    routes = Blueprint("batches", __name__, url_prefix="/batches")

    @routes.post("")
    def create_batch() -> tuple[Response, int, dict[str, str]]:
        body = parse_new_batch()
        key = idempotent_request(body)
        batch, task_ids, limits = _repeated(key) or _accepted(body, key, share)
        document = batch_document(batch, task_ids)
        headers = {"Location": document["link"], **rate_limits.headers_of(limits)}
        return jsonify(document), 202, headers

    @routes.get("")
    def list_batches() -> Response:
        query, owner_id = parse_query(BatchListQuery), caller().user_id
        rows_after = partial(batch_queries.list_batches, owner_id)
        page = read_page(query, "batches", owner_id, rows_after, _position)
        documents = [batch_document(batch) for batch in page.rows]
        return page.linked(_conditional(documents, page.cursor is not None))

    @routes.get("/<batch_id>")
    def get_batch(batch_id: str) -> Response:
        return _conditional(
            batch_document(
                *batch_queries.get_batch(caller().user_id, parse_id(batch_id, BatchNotFound))
            )
        )

    @routes.delete("/<batch_id>")
    def delete_batch(batch_id: str) -> tuple[Response, int]:
        key = parse_id(batch_id, BatchNotFound)
        check = partial(change_conditions.require, partial(_locked_tag, caller().user_id, key))
        deletion = services.delete_batch(caller().user_id, key, check)
        status = 202 if deletion is Deletion.CANCELING else 200
        return jsonify(batch_id=str(key), status=deletion), status

    return routes


def _position(batch: BatchRow) -> Position:
    return Position(batch["created_us"], uuid.UUID(batch["id"]))


def parse_new_batch() -> NewBatch:
    """Return the body.

    Raise what `parse_body` raises, RequestEntityTooLarge, or a 429 or 503 Problem where too many
    large ones are in progress.
    """
    request.max_content_length = MAX_BATCH_BODY_BYTES
    # Read before waiting and taking the lock: a slow client must not hold them.
    long_documents.await_memory_of_body(len(read_body()))
    with _PARSING:
        try:
            return parse_body(NewBatch)
        except Problem as problem:
            refusal = _alone(problem)
    raise refusal


def _alone(problem: Problem) -> Problem:
    """Return it without its frames and causes, which refer to the parsed body."""
    problem.__cause__ = problem.__context__ = None
    return problem.with_traceback(None)


Stored = tuple[BatchRow, list[str], Sequence[LimitState]]


def _repeated(key: IdempotentRequest) -> Stored | None:
    """Return what an earlier request with the same Idempotency-Key has stored."""
    repeated = services.repeated_batch(key)
    return None if repeated is None else (*repeated, ())


def _accepted(body: NewBatch, key: IdempotentRequest, share: ShareMonitor) -> Stored:
    """Store the batch; raise QuotaExceeded or a Problem."""
    check_callback_url(body.callback_url)
    tasks = _submissions(body)
    services.admit(share)
    submission = BatchSubmission(
        owner_id=caller().user_id,
        tasks=tasks,
        name=body.name,
        idempotency_key=key.idempotency_key,
        body_sha256=key.body_sha256,
        callback_url=body.callback_url,
    )
    return services.submit_batch(submission, current().quotas)


def _submissions(body: NewBatch) -> list[Submission]:
    """Return what is to be accepted; raise a 400 Problem that names every wrong item."""
    items, errors = validate_each(NewTask, body.items, "items")
    edits, wrong_edits = edits_of_items(body.edit or Edit(), items)
    errors += wrong_edits
    errors += [error for index, item in items.items() for error in _url_errors(index, item)]
    part_seconds = current().part_seconds
    complete = {index: edit.with_defaults(part_seconds) for index, edit in edits.items()}
    branded, without_brand = with_brands(caller().user_id, complete)
    errors += without_brand + upload_errors(caller().user_id, items)
    if errors:
        message = "The batch has items that are wrong; none was accepted."
        raise Problem(400, "invalid_batch", message, errors=_first_of_each(errors))
    without_key = IdempotentRequest(caller().user_id)
    return [submission_of(item, branded[index], without_key) for index, item in items.items()]


def _first_of_each(errors: list[FieldError]) -> list[FieldError]:
    """Return the first error of each item, in the items' order."""
    first: dict[int, FieldError] = {}
    for error in errors:
        first.setdefault(int(error["field"].split(".")[1]), error)
    return [first[index] for index in sorted(first)]


def _url_errors(index: int, item: NewTask) -> list[FieldError]:
    settings = current()
    urls = (
        ("url", item.url if item.upload_id is None else None, settings.fetch_allow_hosts),
        ("callback_url", item.callback_url, settings.webhook_allow_hosts),
    )
    errors = (url_error(f"items.{index}.{field}", url, allow) for field, url, allow in urls)
    return [error for error in errors if error is not None]


def _conditional(document: dict[str, Any] | list[dict[str, Any]], *state: object) -> Response:
    """Return the document with its weak ETag, or 304.

    The tag covers `state` and the document without `eta_s`, which changes with the clock.
    """
    tag = _tag(document, *state)
    return tags.not_modified(tag) if tags.is_known(tag) else tags.tagged(jsonify(document), tag)


def _tag(document: dict[str, Any] | list[dict[str, Any]], *state: object) -> str:
    each = document if isinstance(document, list) else [document]
    texts = (to_json({**batch, "eta_s": None}).decode() for batch in each)
    return tags.weak_tag(texts, *state)


def _locked_tag(owner_id: int, batch_id: uuid.UUID) -> str:
    """Return the tag of a batch that this transaction has locked."""
    return _tag(batch_document(*batch_queries.get_batch(owner_id, batch_id, fetch_json_within)))
