"""The calls that show clips as pictures: posters and contact sheets."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from flask import Blueprint, Response
from werkzeug.wrappers import Response as BaseResponse

from idrl_common.access import caller
from worker_server.api import tags
from worker_server.api.clip_queries import get_clip
from worker_server.api.clips import ClipGone, ClipSender
from worker_server.api.contact_sheets import contact_sheet
from worker_server.api.ids import parse_id
from worker_server.api.poster_queries import PosterNotFound, published_parts
from worker_server.api.queries import TaskNotFound
from worker_server.api.share_access import ShareAccess
from worker_server.api.slots import slots_for
from worker_server.storage import poster_path

_MAX_PARALLEL_SHEETS = 2
# Per account, as many connections as a browser opens to one HTTP/1.1 host. In all, fewer than the
# threads for pictures (idrl_common.gunicorn_worker), so that one is left to refuse further calls.
MAX_PARALLEL_PICTURES, MAX_PARALLEL_PICTURES_PER_ACCOUNT = 20, 6


def blueprint(
    clips: ClipSender, remote_folder: Path, count_bytes: Callable[[int], None]
) -> Blueprint:
    """Return the routes."""
    routes = Blueprint("posters", __name__)
    # Drawing one sheet takes a few tenths of a second of CPU time and a few MiB.
    share = ShareAccess(_MAX_PARALLEL_SHEETS)
    waiting = slots_for("pictures", MAX_PARALLEL_PICTURES, MAX_PARALLEL_PICTURES_PER_ACCOUNT)

    @routes.get("/tasks/<task_id>/parts/<int:number>/poster.jpg")
    def get_poster(task_id: str, number: int) -> BaseResponse:
        clip = get_clip(caller().user_id, parse_id(task_id, TaskNotFound), number)
        path = poster_path(Path(clip.path))
        # A path identifies the content: no two attempts publish under the same one.
        tag = hashlib.sha256(str(path).encode()).hexdigest()
        try:
            name = f"{clip.task_id}-{number}.jpg"
            return clips.response(name, str(path), tag, caller().user_id, "image/jpeg")
        except ClipGone:
            raise PosterNotFound("The clip has no poster.") from None

    @routes.get("/tasks/<task_id>/contact-sheet.jpg")
    def get_contact_sheet(task_id: str) -> Response:
        parts = published_parts(caller().user_id, parse_id(task_id, TaskNotFound))
        tag = tags.weak_tag(part.path for part in parts)
        if tags.is_known(tag):
            return tags.not_modified(tag)
        with waiting.slot(caller().user_id), share.reading():
            sheet = contact_sheet(remote_folder, parts)
        count_bytes(len(sheet))
        return tags.tagged(Response(sheet, mimetype="image/jpeg"), tag)

    return routes
