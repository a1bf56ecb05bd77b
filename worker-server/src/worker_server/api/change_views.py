"""The `/tasks` calls that change a task: each parses, calls one service and answers."""

import uuid
from functools import partial

from flask import Blueprint, Response, jsonify, request

from idrl_common.access import caller
from idrl_common.settings import MAX_TASK_BODY_BYTES
from idrl_common.validation import parse_body
from worker_server.api import change_conditions, services, task_reads
from worker_server.api.edits import changed_edit
from worker_server.api.ids import parse_id
from worker_server.api.queries import TaskNotFound, TaskWithParts
from worker_server.api.schemas import TaskChange, task_document
from worker_server.queue.cancellation import Deletion
from worker_server.queue.sql_common import Check
from worker_server.settings import current
from worker_server.share_monitor import ShareMonitor

Answer = tuple[Response, int]


def blueprint(share: ShareMonitor) -> Blueprint:
    """Return the routes."""
    routes = Blueprint("task_changes", __name__, url_prefix="/tasks")

    @routes.patch("/<task_id>")
    def change_task(task_id: str) -> Response:
        key = parse_id(task_id, TaskNotFound)
        request.max_content_length = MAX_TASK_BODY_BYTES
        body = parse_body(TaskChange)
        values = body.model_dump(exclude_unset=True, exclude={"edit"})
        editor = None
        if "edit" in body.model_fields_set:
            editor = changed_edit(caller().user_id, body.edit, current().part_seconds)
        return response_of(
            services.change_task(
                caller().user_id, key, values, editor, current().quotas, check_of(key)
            )
        )

    @routes.post("/<task_id>/start")
    def start_task(task_id: str) -> Answer:
        return response_of(
            services.start_task(caller().user_id, parse_id(task_id, TaskNotFound))
        ), 202

    @routes.delete("/<task_id>")
    def delete_task(task_id: str) -> Answer:
        key = parse_id(task_id, TaskNotFound)
        deletion = services.delete_task(caller().user_id, key, check_of(key))
        status = 202 if deletion is Deletion.CANCELING else 200
        return jsonify(task_id=str(key), status=deletion), status

    @routes.post("/<task_id>/retry")
    def retry_task(task_id: str) -> tuple[Response, int, dict[str, str]]:
        key = parse_id(task_id, TaskNotFound)
        document = task_document(services.retry_task(caller().user_id, key, current().quotas))
        return jsonify(document), 202, {"Location": document["link"]}

    def check_of(task_id: uuid.UUID) -> Check:
        """Return what refuses the current request's change, by the conditions that it names."""
        tag = partial(task_reads.locked_tag, caller().user_id, task_id, services.blocked_by(share))
        return partial(change_conditions.require, tag)

    def response_of(task: TaskWithParts) -> Response:
        blocked_by = services.blocked_by(share)
        return jsonify(task_document(task, task["parts"], blocked_by=blocked_by))

    return routes
