"""Whether a body is compressed. The requests ask for `identity`, which some servers ignore.

Stores keep whatever an uploader wrote into `Content-Encoding` (`aws-chunked`, `utf-8`, `none`), and
send a plain file with it. So a coding that RFC 9110 does not register is ignored, and one that it
does register counts only where the first bytes agree.
"""

from collections.abc import Mapping

# Bytes needed to recognize a content coding.
MAGIC_BYTES = 4
_MAGIC = {
    "gzip": b"\x1f\x8b",
    "x-gzip": b"\x1f\x8b",
    "compress": b"\x1f\x9d",
    "x-compress": b"\x1f\x9d",
    "zstd": b"\x28\xb5\x2f\xfd",
    "br": b"",  # Brotli has no magic number, so only the header tells
}


def content_coding(headers: Mapping[str, str]) -> str | None:
    """Return the last coding that was applied to the body, None when no known one is named."""
    codings = [name.strip().lower() for name in headers.get("Content-Encoding", "").split(",")]
    known = [coding for coding in codings if coding in _MAGIC or coding == "deflate"]
    return known[-1] if known else None


def is_compressed(coding: str | None, first_bytes: bytes) -> bool:
    """Return whether a body that begins with these bytes is compressed as the coding says."""
    if coding is None:
        return False
    if coding == "deflate":
        return _begins_zlib(first_bytes)
    return first_bytes.startswith(_MAGIC[coding])


def _begins_zlib(first_bytes: bytes) -> bool:
    """Return whether the bytes are a header of RFC 1950: method 8 and a checksum modulo 31."""
    return (
        len(first_bytes) >= 2
        and first_bytes[0] & 0x0F == 8
        and int.from_bytes(first_bytes[:2], "big") % 31 == 0
    )
