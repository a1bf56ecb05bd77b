"""The `/uploads` calls: tus 1.0, and the list of uploads that no task uses yet."""

from functools import partial
from typing import Any

from flask import Blueprint, Response, request
from pydantic import Field
from werkzeug.http import http_date

from idrl_common.access import caller
from idrl_common.paging import PageQuery, page_response
from idrl_common.problems import Problem
from idrl_common.times import utc_text
from worker_server.api import services, tus, upload_receiving
from worker_server.api.body_deadlines import BodyDeadlines
from worker_server.api.ids import parse_id
from worker_server.api.slots import Slots
from worker_server.models import Upload
from worker_server.queue import uploads
from worker_server.queue.uploads import NewUpload, UploadNotFound
from worker_server.settings import current
from worker_server.share_monitor import ShareMonitor

_DEADLINES = BodyDeadlines()


class UploadListQuery(PageQuery):
    """The query of GET /uploads."""

    max: int = Field(uploads.MAX_OPEN, ge=1, le=uploads.MAX_OPEN)


def blueprint(share: ShareMonitor) -> Blueprint:
    """Return the routes."""
    routes = Blueprint("uploads", __name__, url_prefix="/uploads")
    slots = upload_receiving.sending_slots()

    _add_hooks(routes)

    @routes.route("", methods=["OPTIONS"])
    @routes.route("/<upload_id>", methods=["OPTIONS"])
    def describe(**_: str) -> Response:
        return Response(
            status=204,
            headers={
                "Tus-Version": tus.VERSION,
                "Tus-Extension": tus.EXTENSIONS,
                "Tus-Max-Size": str(current().fetch_max_bytes),
                "Tus-Checksum-Algorithm": ",".join(tus.ALGORITHMS),
            },
        )

    @routes.get("")
    def list_uploads() -> Response:
        owner_id = caller().user_id
        rows_after = partial(uploads.list_unused, owner_id)
        return page_response(UploadListQuery, "uploads", owner_id, rows_after, _document)

    @routes.post("")
    def create_upload() -> Response:
        tus.require_version()
        upload = _create(share, slots)
        response = Response(status=201, headers=_progress(upload))
        response.headers["Location"] = f"/uploads/{upload.id}"
        return response

    @routes.route("/<upload_id>", methods=["HEAD"])
    def head_upload(upload_id: str) -> Response:
        tus.require_version()
        upload = uploads.find(caller().user_id, parse_id(upload_id, UploadNotFound))
        headers = {**_progress(upload), "Upload-Length": str(upload.length_bytes)}
        if upload.tus_metadata:
            headers["Upload-Metadata"] = upload.tus_metadata
        return Response(status=200, headers=headers)

    @routes.patch("/<upload_id>")
    def append_to_upload(upload_id: str) -> Response:
        tus.require_version()
        tus.require_body_type()
        checksum, offset_bytes = tus.checksum(), tus.number("Upload-Offset")
        upload = uploads.find(caller().user_id, parse_id(upload_id, UploadNotFound))
        services.admit_write(share)
        with slots.slot(caller().user_id):
            upload = _receive(upload, offset_bytes, checksum)
        return Response(status=204, headers=_progress(upload))

    @routes.delete("/<upload_id>")
    def delete_upload(upload_id: str) -> Response:
        tus.require_version()
        uploads.delete_upload(caller().user_id, parse_id(upload_id, UploadNotFound))
        return Response(status=204)

    return routes


def _add_hooks(routes: Blueprint) -> None:
    @routes.before_request
    def allow_large_bodies() -> None:
        request.max_content_length = current().fetch_max_bytes

    # Of the app: a path or a method that does not exist belongs to no blueprint.
    @routes.after_app_request
    def name_version(response: Response) -> Response:
        if tus.is_about_uploads(request.path):
            response.headers["Tus-Resumable"] = tus.VERSION
            response.headers.setdefault("Cache-Control", "no-store")
        return response


def _create(share: ShareMonitor, slots: Slots) -> Upload:
    """Accept an upload, with its first bytes where the call has some."""
    has_body = bool(request.content_length or request.headers.get("Transfer-Encoding"))
    if has_body:
        tus.require_body_type()
    checksum, new = tus.checksum(), _new_upload()
    services.admit_write(share, new.length_bytes)
    with slots.slot(new.owner_id):
        upload = uploads.create(new, current().quotas)
        return _receive_first(upload, checksum) if has_body else upload


def _receive_first(upload: Upload, checksum: tus.Checksum | None) -> Upload:
    """Receive the first bytes; on an error abandon the upload, as no caller has its URL."""
    try:
        return _receive(upload, 0, checksum)
    except Exception:
        uploads.give_up(upload.id)
        raise


def _new_upload() -> NewUpload:
    if "Upload-Concat" in request.headers or "Upload-Defer-Length" in request.headers:
        message = "Upload-Concat and Upload-Defer-Length are not supported; send Upload-Length."
        raise Problem(400, "tus_header_invalid", message)
    length_bytes = tus.number("Upload-Length")
    if not length_bytes:
        raise Problem(400, "tus_header_invalid", "Upload-Length must be at least 1.")
    if length_bytes > current().fetch_max_bytes:
        message = f"An upload may have at most {current().fetch_max_bytes} bytes."
        raise Problem(413, "upload_too_large", message)
    metadata, name = tus.metadata()
    return NewUpload(caller().user_id, length_bytes, name, metadata)


def _receive(upload: Upload, offset_bytes: int, checksum: tus.Checksum | None) -> Upload:
    connection = request.environ.get("gunicorn.socket")
    with _DEADLINES.within(connection, upload_receiving.MAX_CALL_S) as extend:
        return upload_receiving.receive(
            current().remote_folder,
            caller().user_id,
            upload,
            offset_bytes,
            (request.stream.read, request.content_length),
            checksum,
            extend,
        )


def _progress(upload: Upload) -> dict[str, str]:
    headers = {"Upload-Offset": str(upload.offset_bytes)}
    if upload.task_id is None:
        headers["Upload-Expires"] = http_date(upload.expires_at)
    return headers


def _document(upload: Upload) -> dict[str, Any]:
    return {
        "upload_id": str(upload.id),
        "name": upload.name,
        "length_bytes": upload.length_bytes,
        "offset_bytes": upload.offset_bytes,
        "created_at": utc_text(upload.created_at),
        "expires_at": utc_text(upload.expires_at),
        "link": f"/uploads/{upload.id}",
    }
