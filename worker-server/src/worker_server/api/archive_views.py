"""The calls that export finished clips: manifests and ZIPs."""

from flask import Blueprint, Response, jsonify, request
from pydantic_core import to_json
from werkzeug.wrappers import Response as BaseResponse

from idrl_common.access import caller
from idrl_common.validation import parse_query
from worker_server.api import archive_queries, batch_queries, tags
from worker_server.api.archive_queries import ArchivedTask
from worker_server.api.archives import ArchiveSender
from worker_server.api.batch_queries import BatchNotFound
from worker_server.api.ids import parse_id
from worker_server.api.manifests import manifest, task_name
from worker_server.api.queries import TaskNotFound
from worker_server.api.schemas import ChosenTasks


def blueprint(archives: ArchiveSender) -> Blueprint:
    """Return the routes."""
    routes = Blueprint("archives", __name__)

    @routes.get("/tasks/<task_id>/manifest.json")
    def get_manifest(task_id: str) -> Response:
        key = parse_id(task_id, TaskNotFound)
        document = manifest(_visible(archive_queries.task_to_archive(caller().user_id, key)))
        tag = tags.weak_tag([to_json(document).decode()])
        return tags.not_modified(tag) if tags.is_known(tag) else tags.tagged(jsonify(document), tag)

    @routes.get("/tasks/<task_id>/clips.zip")
    def download_task(task_id: str) -> BaseResponse:
        key = parse_id(task_id, TaskNotFound)
        return archives.of_task(_visible(archive_queries.task_to_archive(caller().user_id, key)))

    @routes.get("/tasks/clips.zip")
    def download_tasks() -> BaseResponse:
        owner_id, chosen = caller().user_id, parse_query(ChosenTasks).task_id
        return archives.of_tasks("clips", archive_queries.tasks_to_archive(owner_id, chosen))

    @routes.get("/batches/<batch_id>/clips.zip")
    def download_batch(batch_id: str) -> BaseResponse:
        owner_id, key = caller().user_id, parse_id(batch_id, BatchNotFound)
        batch, _ = batch_queries.get_batch(owner_id, key)
        name = batch["name"] or f"batch-{key}"
        return archives.of_tasks(name, archive_queries.tasks_of_batch(owner_id, key))

    return routes


def _visible(task: ArchivedTask) -> ArchivedTask:
    """Return the task; with `shared`, without fields that only its owner may see."""
    if request.args.get("shared") != "true":
        return task
    shown = task.copy()
    shown.update({"name": task_name(task), "url": "", "external_id": None, "metadata": None})
    return shown
