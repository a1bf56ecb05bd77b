"""Receives an upload: writes bytes to its file, fsyncs them, then counts them in its row."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from werkzeug.exceptions import ClientDisconnected

from idrl_common.problems import Problem
from worker_server.api.share_access import problem_of
from worker_server.api.slots import Slots
from worker_server.api.tus import Checksum
from worker_server.models import Upload
from worker_server.queue import uploads
from worker_server.queue.uploads import UploadGone
from worker_server.storage import write_all
from worker_server.upload_files import UploadFileLost, locked_file, seek_to_confirmed

Read = Callable[[int], bytes]
Extend = Callable[[float], None]
# A longer call ends with the bytes received so far, and the client resumes. With Upload-Checksum
# they are discarded, so such a call may take longer as long as its bytes come at this rate.
MAX_CALL_S = 300
MIN_CHECKED_BYTES_S = 16 * 1024
_CONFIRM_EVERY_BYTES, _CONFIRM_EVERY_S = 32 * 1024 * 1024, 5.0
_MIN_READ_BYTES, _MAX_READ_BYTES = 1024, 256 * 1024
_SLOW_READ_S = 0.25
_MAX_PARALLEL, _MAX_PARALLEL_PER_ACCOUNT = 64, 8


def sending_slots() -> Slots:
    """Return the bound on the calls that send bytes at once."""
    of_account = f"This account is already sending {_MAX_PARALLEL_PER_ACCOUNT} uploads."
    of_all = "Too many uploads are being sent at the moment; try again soon."
    return Slots(
        _MAX_PARALLEL,
        _MAX_PARALLEL_PER_ACCOUNT,
        of_account=Problem(429, "too_many_uploads", of_account, headers={"Retry-After": "2"}),
        of_all=Problem(503, "uploads_busy", of_all, headers={"Retry-After": "5"}),
    )


class _Receiver:
    """Appends what `read` returns to the file; fsyncs regularly, and then counts it in the row.

    With a checksum it only checks regularly whether the row is still there, by `find`: the space of
    an upload that was deleted counts towards no quota, and is free once its file is closed.
    """

    def __init__(
        self,
        descriptor: int,
        upload: Upload,
        checksum: Checksum | None,
        extend: Extend,
        find: Callable[[], object],
    ) -> None:
        self._descriptor = descriptor
        self._extend = extend
        self._find = find
        self.upload = upload
        self._checksum = checksum
        self._hash = checksum.new_hash() if checksum else None
        self._pending_bytes = 0
        self._seen_bytes, self._seen_at = 0, time.monotonic()

    def receive(self, read: Read, wanted_bytes: int) -> None:
        """Take up to `wanted_bytes`; fewer where the caller is cut off or too slow.

        Raise a 413 Problem for more than the upload has, OffsetChanged, or UploadGone.
        """
        ends_at = time.monotonic() + MAX_CALL_S
        for chunk in _chunks(read, wanted_bytes):
            self._pending_bytes += len(chunk)
            if self.upload.offset_bytes + self._pending_bytes > self.upload.length_bytes:
                self._drop_pending()
                raise _too_many(self.upload)
            write_all(self._descriptor, chunk)
            if self._hash:
                self._hash.update(chunk)
                more_s = len(chunk) / MIN_CHECKED_BYTES_S
                self._extend(more_s)
                ends_at += more_s
            if self._is_due():
                (self._check_deletion if self._hash else self._confirm)()
            if time.monotonic() > ends_at:
                break
        if self._checksum and not self._matches():
            self._drop_pending()
            raise _mismatch(is_late=time.monotonic() > ends_at)
        self._confirm()

    def _drop_pending(self) -> None:
        os.ftruncate(self._descriptor, self.upload.offset_bytes)

    def _is_due(self) -> bool:
        is_late = time.monotonic() - self._seen_at > _CONFIRM_EVERY_S
        return is_late or self._pending_bytes - self._seen_bytes >= _CONFIRM_EVERY_BYTES

    def _matches(self) -> bool:
        return bool(self._hash and self._checksum and self._hash.digest() == self._checksum.digest)

    def _confirm(self) -> None:
        if self._pending_bytes:
            os.fsync(self._descriptor)
            begin = self.upload.offset_bytes
            self.upload = uploads.confirm(self.upload.id, begin, begin + self._pending_bytes)
        self._pending_bytes = 0
        self._seen_bytes, self._seen_at = 0, time.monotonic()

    def _check_deletion(self) -> None:
        self._find()
        self._seen_bytes, self._seen_at = self._pending_bytes, time.monotonic()


def receive(
    remote: Path,
    owner_id: int,
    upload: Upload,
    offset_bytes: int,
    body: tuple[Read, int | None],
    checksum: Checksum | None,
    extend: Extend,
) -> Upload:
    """Append the body, its read function and its length (None: chunked), to the upload.

    `extend` gives the body more seconds before it is ended. Raise a Problem, UploadBusy, UploadGone
    or OffsetChanged. What was not confirmed is cut off by the next call.
    """
    read, length = body
    try:
        with locked_file(remote, upload.id) as descriptor:
            upload = uploads.find(owner_id, upload.id)
            _check_offset(upload, offset_bytes, length)
            seek_to_confirmed(descriptor, upload.offset_bytes)
            find = partial(uploads.find, owner_id, upload.id)
            receiver = _Receiver(descriptor, upload, checksum, extend, find)
            left_bytes = upload.length_bytes - upload.offset_bytes
            try:
                # Of a chunked body, read one byte more than allowed, to notice one too long.
                receiver.receive(read, left_bytes + 1 if length is None else length)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, receiver.upload.offset_bytes)
                raise
            return receiver.upload
    except UploadFileLost as error:
        uploads.give_up(upload.id)
        raise UploadGone from error
    except OSError as error:
        raise problem_of(error) from error


def _check_offset(upload: Upload, offset_bytes: int, length: int | None) -> None:
    offset_header = {"Upload-Offset": str(upload.offset_bytes)}
    if upload.task_id is not None:
        raise uploads.UploadUsed("A task already uses this upload.")
    if offset_bytes != upload.offset_bytes:
        message = f"The upload has {upload.offset_bytes} bytes; continue from there."
        raise Problem(409, "upload_offset", message, headers=offset_header)
    if length and offset_bytes + length > upload.length_bytes:
        raise _too_many(upload)


def _too_many(upload: Upload) -> Problem:
    message = f"The upload has {upload.length_bytes} bytes in all; these are too many."
    offset_header = {"Upload-Offset": str(upload.offset_bytes)}
    return Problem(413, "upload_too_large", message, headers=offset_header)


def _mismatch(*, is_late: bool) -> Problem:
    message = "The bytes differ from their checksum."
    if is_late:
        message = "The bytes came too slowly to be checked; send fewer of them in one call."
    return Problem(460, "checksum_mismatch", message)


def _chunks(read: Read, wanted_bytes: int) -> Iterator[bytes]:
    """Yield the body until it ends or the caller is gone; after a slow read in smaller pieces."""
    size_bytes = _MIN_READ_BYTES * 16
    while wanted_bytes > 0:
        began = time.monotonic()
        try:
            chunk = read(min(size_bytes, wanted_bytes))
        except (OSError, ClientDisconnected):
            return
        if not chunk:
            return
        wanted_bytes -= len(chunk)
        is_slow = time.monotonic() - began > _SLOW_READ_S
        size_bytes = size_bytes // 2 if is_slow else size_bytes * 2
        size_bytes = min(max(size_bytes, _MIN_READ_BYTES), _MAX_READ_BYTES)
        yield chunk
