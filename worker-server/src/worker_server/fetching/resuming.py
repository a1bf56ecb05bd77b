"""Whether the rest of a file can be asked for, and whether what comes is that rest (RFC 9110, 13.1.5 and 14)."""

from collections.abc import Mapping

from werkzeug.http import parse_content_range_header


def validator_of(headers: Mapping[str, str]) -> str | None:
    """Return what proves that the file has not changed: a strong ETag, else the date it was last modified."""
    etag = headers.get("ETag", "")
    if etag.startswith('"'):
        return etag
    return headers.get("Last-Modified")


def range_headers(validator: str | None, size_bytes: int) -> dict[str, str]:
    """Return the headers that ask for what comes after the first `size_bytes`; none when that cannot be had."""
    if not validator or not size_bytes:
        return {}
    return {"Range": f"bytes={size_bytes}-", "If-Range": validator}


def continues(
    headers: Mapping[str, str], validator: str, size_bytes: int, total_bytes: int | None
) -> bool:
    """Tell whether a 206 goes on exactly where we are, to the end of the same file."""
    content = parse_content_range_header(headers.get("Content-Range"))
    if (
        content is None
        or content.units != "bytes"
        or content.start != size_bytes
        or content.stop is None
    ):
        return False
    if content.length is not None and content.stop != content.length:
        return False
    if total_bytes is not None and content.stop != total_bytes:
        return False
    return "ETag" not in headers or not validator.startswith('"') or headers["ETag"] == validator
