"""Files to the system, by tus 1.0 (https://tus.io): in pieces, continued where one was cut off."""

import os
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from idrl_client.connection import Connection
from idrl_client.documents import not_idrl, rows
from idrl_client.errors import IdrlError, LocalFault, Refused, Unreachable

_CHUNK_BYTES = 8 * 1024 * 1024
_TUS = {"Tus-Resumable": "1.0.0"}
# Consecutive attempts without a byte transferred.
_ATTEMPTS = 5
SaveUploadId = Callable[[str], None]
OnProgress = Callable[[int], None]


def upload(
    connection: Connection,
    path: Path,
    begun: str | None,
    save_upload_id: SaveUploadId | None = None,
    on_progress: OnProgress | None = None,
) -> str:
    """Upload the whole file and return the upload's id; raise a subclass of IdrlError.

    `begun` is the id of an upload that an earlier process began; `save_upload_id` is called with
    that of a new one before the first byte is sent, and `on_progress` with the percentage sent,
    after each piece.
    """
    size_bytes = _size_bytes(path)
    if size_bytes == 0:
        raise LocalFault(f"{path} is empty")
    upload_id = begun if begun and find_offset(connection, begun) is not None else None
    if upload_id is None:
        upload_id = _create(connection, path, size_bytes)
        if save_upload_id:
            save_upload_id(upload_id)
    _send_all(connection, path, upload_id, size_bytes, on_progress or (lambda _: None))
    return upload_id


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error


def _create(connection: Connection, path: Path, size_bytes: int) -> str:
    name = b64encode(readable_name(path).encode()).decode()
    headers = {"Upload-Length": str(size_bytes), "Upload-Metadata": f"filename {name}"}
    answer = connection.call("POST", "/uploads", headers={**_TUS, **headers}, is_repeatable=False)
    upload_id = answer.headers.get("Location", "").rstrip("/").rpartition("/")[2]
    if not upload_id:
        raise not_idrl(answer)
    return upload_id


def readable_name(path: Path) -> str:
    """Return the name of the file as UTF-8, independent of the locale."""
    return os.fsencode(path.name).decode(errors="replace")


def _send_all(
    connection: Connection, path: Path, upload_id: str, size_bytes: int, on_progress: OnProgress
) -> None:
    failures, fault = 0, None
    offset = find_offset(connection, upload_id) or 0
    while offset < size_bytes:
        on_progress(100 * offset // size_bytes)
        try:
            _send_chunk(connection, path, upload_id, offset, size_bytes)
        except (Refused, Unreachable) as error:
            if isinstance(error, Refused) and error.code != "upload_offset":
                raise
            fault = error
        arrived = find_offset(connection, upload_id)
        if arrived is None:
            return  # complete, and already used by a task
        failures = 0 if arrived > offset else failures + 1
        if failures == _ATTEMPTS:
            raise fault or Unreachable(f"{path} cannot be sent to {connection.base_url}")
        offset = arrived
    _require_same_size(path, _size_bytes(path), size_bytes)


def _send_chunk(
    connection: Connection, path: Path, upload_id: str, offset: int, size_bytes: int
) -> None:
    chunk = _chunk(path, offset, size_bytes)
    headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    connection.call(
        *("PATCH", f"/uploads/{upload_id}"),
        headers={**_TUS, **headers},
        is_repeatable=False,
        data=chunk,
    )


def _chunk(path: Path, offset: int, size_bytes: int) -> bytes:
    """Return the next bytes of the file; raise LocalFault where it has another size by now."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            chunk = file.read(_CHUNK_BYTES)
            now_bytes = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise _unreadable(path, error) from error
    _require_same_size(path, now_bytes, size_bytes)
    return chunk


def _require_same_size(path: Path, now_bytes: int, size_bytes: int) -> None:
    if now_bytes != size_bytes:
        raise LocalFault(
            f"{path} changed while it was being sent ({size_bytes} bytes, now {now_bytes}):"
            " repeat the command when the file is complete"
        )


def find_offset(connection: Connection, upload_id: str) -> int | None:
    """Return how many bytes have arrived; None for an upload that is gone or that a task has."""
    answer = connection.call("GET", "/uploads")
    uploads: list[dict[str, Any]] = rows(answer, "upload_id", "offset_bytes")
    offsets_bytes = (each["offset_bytes"] for each in uploads if each["upload_id"] == upload_id)
    return next(offsets_bytes, None)


def _unreadable(path: Path, error: OSError) -> IdrlError:
    return LocalFault(f"{path} cannot be read: {error.strerror}")
