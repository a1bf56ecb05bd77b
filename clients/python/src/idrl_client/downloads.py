"""Clips into files: whole or not at all, continued where a download was cut off."""

import errno
import hashlib
import math
import os
from http import HTTPStatus
from pathlib import Path

import requests

from idrl_client.connection import Connection
from idrl_client.errors import IdrlError, LocalFault, Unreachable
from idrl_client.models import Part

_CHUNK_BYTES = 64 * 1024  # a broken connection loses at most this much
_ATTEMPTS = 5  # in a row without progress


def fetch_part(connection: Connection, part: Part, target: Path) -> bool:
    """Download the clip of a finished part to `target`; return False if it was there already.

    An incomplete file is kept beside `target`, named after the clip's SHA-256, so that a later
    call resumes it, and never with the bytes of another clip.
    """
    sha256 = part["sha256"]
    if sha256 is None:
        raise ValueError(f"part {part['number']} is not done")
    try:
        if target.exists() and _sha256(target) == sha256:
            return False
        _download(connection, part, sha256, target)
    except OSError as error:
        raise _local_fault(target, error) from error
    return True


def _download(connection: Connection, part: Part, sha256: str, target: Path) -> None:
    partial = target.with_name(f".{target.name}.{sha256[:16]}.partial")
    failures, most_bytes = 0, _size_bytes(partial)
    while True:
        fault = _try(connection, part, sha256, partial)
        if fault is None:
            partial.replace(target)
            return
        arrived_bytes = _size_bytes(partial)
        failures = 0 if arrived_bytes > most_bytes else failures + 1
        if failures == _ATTEMPTS:
            raise fault
        most_bytes = max(most_bytes, arrived_bytes)


def _try(connection: Connection, part: Part, sha256: str, partial: Path) -> IdrlError | None:
    """Receive what is missing; return why the clip is not whole, None if it is."""
    try:
        _receive(connection, part, sha256, partial)
    except requests.RequestException:
        message = f"the download of {part['link']} breaks off; repeat the command to continue"
        return Unreachable(message)
    if _sha256(partial) == sha256:
        return None
    partial.unlink()
    return LocalFault(f"{part['link']} arrives damaged: its SHA-256 is not {sha256}")


def _receive(connection: Connection, part: Part, sha256: str, partial: Path) -> None:
    """Append the missing bytes; a clip that has changed is downloaded from the start."""
    have_bytes = _size_bytes(partial)
    if have_bytes >= (part["size_bytes"] or math.inf):
        return
    wanted = {"Range": f"bytes={have_bytes}-", "If-Range": f'"{sha256}"'} if have_bytes else {}
    answer = connection.call("GET", part["link"], headers=wanted, stream=True)
    mode = "ab" if answer.status_code == HTTPStatus.PARTIAL_CONTENT else "wb"
    with answer, partial.open(mode) as file:
        for chunk in answer.iter_content(_CHUNK_BYTES):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _size_bytes(partial: Path) -> int:
    return partial.stat().st_size if partial.exists() else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _local_fault(target: Path, error: OSError) -> LocalFault:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return LocalFault(
            f"no space is left for {target}: free some and repeat the command to continue"
        )
    return LocalFault(f"{target} cannot be written: {error.strerror}")
