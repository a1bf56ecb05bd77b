"""GET of a task and of a page of tasks: documents with tags, and links to next pages."""

import uuid

from flask import Response, jsonify

from idrl_common import cursors
from idrl_common.cursors import Position
from idrl_common.paging import next_link, read_page
from worker_server.api import queries, services, tags
from worker_server.api.schemas import EventListQuery, TaskListQuery, event_document, task_document
from worker_server.api.task_pages import (
    Page,
    PageRequest,
    TaskFilter,
    fetch_page,
    fetch_version,
)
from worker_server.db import fetch_json_within, transaction
from worker_server.errors import FailureCode
from worker_server.queue.estimates import QueueEstimates
from worker_server.queue.events import Event
from worker_server.queue.submissions import wait_for_accepted


def task_response(
    owner_id: int,
    task_id: uuid.UUID,
    blocked_by: FailureCode | None,
    estimates: QueueEstimates,
) -> Response:
    """Return the task with its parts, or 304; raise TaskNotFound."""
    if tags.is_conditional():
        tag = tags.weak_tag([queries.task_version(owner_id, task_id)], blocked_by)
        if tags.is_known(tag):
            return tags.not_modified(tag)
    task = queries.get_task(owner_id, task_id)
    document = task_document(task, task["parts"], blocked_by=blocked_by, estimates=estimates)
    return tags.tagged(jsonify(document), tags.weak_tag([task["row_version"]], blocked_by))


def locked_tag(owner_id: int, task_id: uuid.UUID, blocked_by: FailureCode | None) -> str:
    """Return the tag of a task that this transaction has locked."""
    version = queries.task_version(owner_id, task_id, fetch_json_within)
    return tags.weak_tag([version], blocked_by)


def page_response(
    owner_id: int, query: TaskListQuery, blocked_by: FailureCode | None, estimates: QueueEstimates
) -> Response:
    """Return the page that the query names, or 304; raise CursorInvalid."""
    page_request = _page_request(owner_id, query)
    # With `q`, the page's end depends on tasks not on it, so its tag is known only afterwards.
    if tags.is_conditional() and query.q is None:
        tag = tags.weak_tag(fetch_version(page_request), blocked_by)
        if tags.is_known(tag):
            return tags.not_modified(tag)
    page = _fetch_page(page_request)
    version = page.version if query.q is None else [*page.version, str(page.end)]
    tag = tags.weak_tag(version, blocked_by)
    if tags.is_known(tag):
        return tags.not_modified(tag)
    documents = [
        task_document(task, blocked_by=blocked_by, estimates=estimates) for task in page.tasks
    ]
    response = tags.tagged(jsonify(documents), tag)
    if page.end is not None:
        response.headers["Link"] = next_link(cursors.encode(page.end, owner_id, _key(query)))
    return response


def _fetch_page(request: PageRequest) -> Page:
    """Return the page; with `created_after`, wait for tasks that are being accepted."""
    if request.where.created_after is None:
        return fetch_page(request)
    with transaction() as session:
        wait_for_accepted(session, request.owner_id)
        return fetch_page(request, fetch_json_within)


def events_response(owner_id: int, task_id: uuid.UUID, query: EventListQuery) -> Response:
    """Return a page of the task's events; raise TaskNotFound or CursorInvalid."""

    def rows_after(limit: int, position: Position | None) -> list[Event]:
        after = query.after if position is None else position.created_us
        return services.list_events(owner_id, task_id, after, limit)

    # Ids ascend with creation, so the cursor needs only the id.
    page = read_page(
        query,
        f"events {task_id}",
        owner_id,
        rows_after,
        lambda event: Position(event.id, task_id),
    )
    return page.linked(jsonify([event_document(event) for event in page.rows]))


def _page_request(owner_id: int, query: TaskListQuery) -> PageRequest:
    after: Position | None = None
    if query.cursor is not None:
        after = cursors.decode(query.cursor, owner_id, _key(query))
    where = TaskFilter(
        query.status, query.external_id, query.batch_id, query.created_after, query.created_before,
        query.q,
    )  # fmt: skip
    return PageRequest(owner_id, query.max, query.order == "1", after, where)


def _key(query: TaskListQuery) -> str:
    """Return what a cursor is bound to: order and filters; `max` may differ from page to page."""
    return query.model_dump_json(exclude={"cursor", "max"}, exclude_none=True)
