"""ZIPs of finished clips: laid out from rows, streamed from the share without a temporary file."""

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from zlib import crc32

from werkzeug.wrappers import Response

from idrl_common.access import caller
from idrl_common.problems import Problem
from worker_server import storage
from worker_server.api import archive_queries
from worker_server.api.archive_queries import ArchivedTask, FinishedPart
from worker_server.api.clip_names import stem_of
from worker_server.api.clips import has_body
from worker_server.api.content_disposition import content_disposition
from worker_server.api.manifests import file_names, manifest, task_name
from worker_server.api.preconditions import checked_environ
from worker_server.api.share_access import ShareAccess, share_unavailable
from worker_server.api.slots import slots_for
from worker_server.api.zip_layout import CHUNK_BYTES, Member, MemberChanged, ZipLayout

# A call must be answered within 15 s. At this limit it gets a 503; the checksums it has computed by
# then are stored, so a repeated call goes further.
_CHECKSUM_LIMIT_S = 8.0
_MAX_OPENING = 8
_MAX_PARALLEL, _MAX_PARALLEL_PER_ACCOUNT = 16, 10
_log = logging.getLogger(__name__)
LostClip = Callable[[uuid.UUID, int, str], object]


class NoClips(Exception):
    """No clip is done yet."""

    def __init__(self) -> None:
        super().__init__("No clip is done yet; try again later.")


class _ClosingBody:
    """A response body that calls `on_close` once it is sent or its reader is gone."""

    def __init__(self, parts: Iterator[bytes], on_close: Callable[[], None]) -> None:
        self._parts = parts
        self._on_close = on_close

    def __iter__(self) -> Iterator[bytes]:
        return self._parts

    def close(self) -> None:
        self._on_close()

    __del__ = close


class ArchiveSender:
    """Answers downloads of ZIPs; `record_lost` is called for a clip whose file is gone."""

    def __init__(
        self, remote_folder: Path, count_bytes: Callable[[int], None], record_lost: LostClip
    ) -> None:
        self._remote_folder = remote_folder
        self._count_bytes = count_bytes
        self._record_lost = record_lost
        self._share = ShareAccess(_MAX_OPENING)
        self._slots = slots_for("ZIPs", _MAX_PARALLEL, _MAX_PARALLEL_PER_ACCOUNT)

    def of_task(self, task: ArchivedTask) -> Response:
        """Return the answer to the current request for a task's ZIP; raise NoClips or a Problem."""
        return self._answer(f"{stem_of(task_name(task))}.zip", [("", task)])

    def of_tasks(self, name: str, tasks: Sequence[ArchivedTask]) -> Response:
        """Return the answer for the ZIP of several tasks: a folder for each that has clips."""
        width = len(str(len(tasks)))
        folders = [
            (f"{number:0{width}} {stem_of(task_name(task))}/", task)
            for number, task in enumerate(tasks, 1)
        ]
        return self._answer(f"{stem_of(name)}.zip", folders)

    def _answer(self, name: str, folders: Sequence[tuple[str, ArchivedTask]]) -> Response:
        with ExitStack() as slot:
            # Before the files of each part are examined, which takes as long for a HEAD.
            slot.callback(self._slots.acquire(caller().user_id))
            layout = self._laid_out(folders)
            response = _headers(name, layout)
            if has_body(response):
                start = response.content_range.start or 0
                length = response.content_length or 0
                free = slot.pop_all().close
                response.response = _ClosingBody(self._bytes(layout, start, length), free)
                self._count_bytes(length)
            return response

    def _laid_out(self, folders: Sequence[tuple[str, ArchivedTask]]) -> ZipLayout:
        deadline = time.monotonic() + _CHECKSUM_LIMIT_S
        with self._share.reading():
            members = [
                member
                for folder, task in folders
                for member in self._members(folder, task, deadline)
            ]
        if not members:
            raise NoClips
        return ZipLayout(members)

    def _members(self, folder: str, task: ArchivedTask, deadline: float) -> list[Member]:
        """Return the clips whose files are there, and their manifest."""
        present = [part for part in task["parts"] or [] if self._is_there(task["id"], part)]
        if not present:
            return []
        archived = ArchivedTask(**{**task, "parts": present})
        modified = datetime.fromisoformat(task["finished_at"] or task["created_at"])
        text = json.dumps(manifest(archived), ensure_ascii=False, indent=2)
        return [
            *(
                Member(
                    folder + name,
                    modified,
                    self._path(part),
                    part["size_bytes"] or 0,
                    self._crc32(task["id"], part, deadline),
                )
                for part, name in zip(present, file_names(archived), strict=True)
            ),
            Member.of_bytes(f"{folder}manifest.json", modified, f"{text}\n".encode()),
        ]

    def _path(self, part: FinishedPart) -> Path:
        return (self._remote_folder / part["path"]).absolute()

    def _is_there(self, task_id: str, part: FinishedPart) -> bool:
        if self._path(part).exists():
            return True
        if not storage.is_mounted(self._remote_folder):
            raise share_unavailable()
        self._record_lost(uuid.UUID(task_id), part["number"], part["path"])
        return False

    def _crc32(self, task_id: str, part: FinishedPart, deadline: float) -> int:
        if part["crc32"] is not None:
            return part["crc32"]
        checksum = _crc32_of(self._path(part), deadline)
        archive_queries.store_crc32(task_id, part, checksum)
        return checksum

    def _bytes(self, layout: ZipLayout, start: int, length: int) -> Iterator[bytes]:
        try:
            yield from layout.read(start, length, lambda path: path.open("rb"))
        except (OSError, MemberChanged) as error:
            _log.warning("ZIP download aborted: %s", type(error).__name__)
            # gunicorn then closes the connection, which tells the caller that bytes are missing.
            raise ConnectionResetError from error


def _headers(name: str, layout: ZipLayout) -> Response:
    response = Response(mimetype="application/zip")
    response.content_length = layout.size_bytes
    response.set_etag(layout.digest)
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Content-Disposition"] = content_disposition("attachment", name)
    environ = checked_environ(layout.digest, layout.size_bytes)
    return response.make_conditional(environ, accept_ranges=True, complete_length=layout.size_bytes)


def _crc32_of(path: Path, deadline: float) -> int:
    """Return the CRC-32 of a clip of an earlier release; raise a 503 Problem at the deadline."""
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            checksum = crc32(chunk, checksum)
            if time.monotonic() > deadline:
                message = "The ZIP is being prepared; try again."
                raise Problem(503, "zip_not_ready", message, headers={"Retry-After": "1"})
    return checksum
