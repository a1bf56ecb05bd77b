"""The headers of tus 1.0 (tus.io/protocols/resumable-upload): parsed, or refused with a code."""

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Protocol

from flask import request

from idrl_common.problems import Problem
from idrl_common.validation import is_blank
from worker_server.api.labels import one_line

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,expiration,termination,checksum"
ALGORITHMS = ("sha256", "sha1", "md5", "sha512")
BODY_TYPE = "application/offset+octet-stream"
_MAX_METADATA_LENGTH = 4096
_NUMBER = re.compile(r"[0-9]{1,18}")
_UPLOADS = re.compile("/+uploads(/|$)")


class Hash(Protocol):
    """A hash object of hashlib, whose type has no public name."""

    def update(self, data: bytes, /) -> None:
        """Add data."""

    def digest(self) -> bytes:
        """Return the digest of what was added."""


@dataclass(frozen=True)
class Checksum:
    """What the bytes of one call must hash to."""

    algorithm: str
    digest: bytes

    def new_hash(self) -> Hash:
        """Return a hash to which the bytes are added."""
        return hashlib.new(self.algorithm, usedforsecurity=False)


def is_about_uploads(path: str) -> bool:
    """Return whether a call of this path is one of tus."""
    return _UPLOADS.match(path) is not None


def require_version() -> None:
    """Raise a 412 Problem unless the caller speaks this version."""
    if request.headers.get("Tus-Resumable") != VERSION:
        message = f"Send the header Tus-Resumable: {VERSION}."
        raise Problem(412, "tus_version", message, headers={"Tus-Version": VERSION})


def require_body_type() -> None:
    """Raise a 415 Problem unless the body is the bytes of a file."""
    if request.mimetype != BODY_TYPE:
        raise Problem(415, "unsupported_media_type", f"Send the bytes as {BODY_TYPE}.")


def number(name: str) -> int:
    """Return the header's number; raise a 400 Problem."""
    text = request.headers.get(name, "")
    if not _NUMBER.fullmatch(text):
        raise Problem(400, "tus_header_invalid", f"{name} must be a whole number of bytes.")
    return int(text)


def metadata() -> tuple[str | None, str | None]:
    """Return Upload-Metadata as it came, and the name of the file in it; raise a 400 Problem."""
    header = request.headers.get("Upload-Metadata")
    if not header:
        return None, None
    pairs: dict[str, bytes] = {}
    for pair in header.split(","):
        key, _, value = pair.strip().partition(" ")
        try:
            decoded = base64.b64decode(value, validate=True)
        except ValueError as error:  # binascii.Error, or a letter beyond ASCII
            raise _bad_metadata() from error
        if not key or not key.isascii() or key in pairs:
            raise _bad_metadata()
        pairs[key] = decoded
    if len(header) > _MAX_METADATA_LENGTH:
        raise _bad_metadata()
    return header, _file_name(pairs.get("filename") or pairs.get("name") or b"")


def checksum() -> Checksum | None:
    """Return what Upload-Checksum says, None without it; raise a 400 Problem."""
    header = request.headers.get("Upload-Checksum")
    if header is None:
        return None
    algorithm, _, value = header.partition(" ")
    if algorithm not in ALGORITHMS:
        message = f"Upload-Checksum takes these algorithms: {', '.join(ALGORITHMS)}."
        raise Problem(400, "checksum_algorithm", message)
    try:
        digest = base64.b64decode(value, validate=True)
    except ValueError:  # binascii.Error, or a letter beyond ASCII
        digest = b""
    if len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        message = "Upload-Checksum must be an algorithm, a space, and the digest in Base64."
        raise Problem(400, "tus_header_invalid", message)
    return Checksum(algorithm, digest)


def _file_name(value: bytes) -> str | None:
    text = value.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
    name = one_line(text).strip()
    return None if is_blank(name[:200]) else name[:200]


def _bad_metadata() -> Problem:
    message = (
        "Upload-Metadata must be pairs of a key and a Base64 value, separated by commas,"
        f" of at most {_MAX_METADATA_LENGTH} characters."
    )
    return Problem(400, "tus_header_invalid", message)
