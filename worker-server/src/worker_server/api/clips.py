"""Downloads of clips: ranges and conditions are handled here, the bytes are sent by the kernel."""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path

from flask import request
from werkzeug.utils import send_file
from werkzeug.wrappers import Response
from werkzeug.wsgi import wrap_file

from worker_server import storage
from worker_server.api.content_disposition import content_disposition
from worker_server.api.preconditions import checked_environ
from worker_server.api.share_access import ShareAccess
from worker_server.api.slots import slots_for

# Concurrent downloads, ZIPs included. Fewer than the threads for them, so that a thread is left to
# refuse further calls (_FILE_THREADS in idrl_common.gunicorn_worker).
_MAX_PARALLEL, _MAX_PARALLEL_PER_ACCOUNT = 44, 32
AcquireSlot = Callable[[], Callable[[], None]]  # returns the function that frees the slot


class ClipGone(Exception):
    """The share is there, but the clip's file is not."""


class ClipSender:
    """Answers downloads from the share; at most `openings` threads open files on it at once."""

    def __init__(
        self,
        remote_folder: Path,
        count_bytes: Callable[[int], None],
        openings: int = 8,
        wait_s: float = 5.0,
    ) -> None:
        self._slots = slots_for("downloads", _MAX_PARALLEL, _MAX_PARALLEL_PER_ACCOUNT)
        self._remote_folder = remote_folder
        self._count_bytes = count_bytes
        self._share = ShareAccess(openings, wait_s)

    def response(
        self, name: str, path: str, tag: str, owner_id: int, mimetype: str = "video/mp4"
    ) -> Response:
        """Return the answer to the current request for the file at `path` below the share.

        Its strong ETag is `tag`. The file occupies a slot of the owner until it is sent.

        Raise a 429 or 503 Problem, or ClipGone where the share is there and the file is not.
        """
        with self._share.reading():
            try:
                file = (self._remote_folder / path).absolute()
                acquire_slot = partial(self._slots.acquire, owner_id)
                response = _file_response(file, name, tag, mimetype, acquire_slot)
            except FileNotFoundError as error:
                if storage.is_mounted(self._remote_folder):
                    raise ClipGone from error
                raise
        if has_body(response):
            self._count_bytes(response.content_length or 0)
        return response


def _file_response(
    file: Path, name: str, tag: str, mimetype: str, acquire_slot: AcquireSlot
) -> Response:
    response = _file_headers(file, name, tag, mimetype)
    if has_body(response):
        start = response.content_range.start or 0
        free = acquire_slot()
        try:
            wanted = storage.FileRange(file, start, response.content_length or 0, free)
        except OSError:
            free()
            raise
        response.response = wrap_file(request.environ, wanted)
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def has_body(response: Response) -> bool:
    """Return whether the answer to the current request has the file, or a range of it."""
    is_success = response.status_code in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT)
    return request.method == "GET" and is_success


def _file_headers(file: Path, name: str, tag: str, mimetype: str) -> Response:
    """Let werkzeug evaluate ranges and conditions, but not cut the file into ranges in Python."""
    status = file.stat()
    response = send_file(
        file,
        checked_environ(tag, status.st_size, status.st_mtime),
        mimetype,
        download_name=name,
        conditional=True,
        etag=tag,
        use_x_sendfile=True,
    )
    response.headers.pop("X-Sendfile", None)
    if not name.isascii():
        # werkzeug leaves out letters, and makes a real slash or quote of one of another width.
        response.headers["Content-Disposition"] = content_disposition("inline", name)
    return response
