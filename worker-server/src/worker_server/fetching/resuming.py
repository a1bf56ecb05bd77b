"""Whether the rest of a file can be requested, and whether a response is that rest.

RFC 9110, section 15.3.7.3: partial responses may be combined only if all have the same strong
validator. A server that ignores `If-Range` sends the rest of another file with status 206.
"""

import datetime
from collections.abc import Mapping

from werkzeug.http import parse_content_range_header

from worker_server.fetching.content_coding import content_coding
from worker_server.fetching.retry_after import parse_date

# A date is strong when the file was changed well before it was sent (section 8.8.2.2); a minute
# allows for clocks of two machines behind one name.
_SETTLED = datetime.timedelta(seconds=60)


def strong_validator(headers: Mapping[str, str]) -> str | None:
    """Return what proves that the file has not changed: a strong ETag, else a strong date.

    A weak ETag rules the date out, too: the server knows of versions that are not the same bytes.
    """
    if "ETag" in headers:
        etag = headers["ETag"]
        return etag if etag.startswith('"') and etag.endswith('"') and len(etag) > 1 else None
    modified = parse_date(headers.get("Last-Modified", ""))
    sent = parse_date(headers.get("Date", ""))
    if modified and sent and sent - modified >= _SETTLED:
        return headers["Last-Modified"]
    return None


def range_headers(validator: str | None, size_bytes: int) -> dict[str, str]:
    """Return the headers that request the bytes from `size_bytes` on; empty without validator."""
    if not validator or not size_bytes:
        return {}
    return {"Range": f"bytes={size_bytes}-", "If-Range": validator}


def continues(
    headers: Mapping[str, str], validator: str, size_bytes: int, total_bytes: int | None
) -> bool:
    """Return whether a 206 has the bytes from `size_bytes` to the end of the same file."""
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
    return _same_file(headers, validator)


def range_end(headers: Mapping[str, str]) -> int | None:
    """Return how long the file is up to the end of the response's range; None without a range."""
    content = parse_content_range_header(headers.get("Content-Range"))
    return None if content is None else content.stop


def is_whole(headers: Mapping[str, str]) -> bool:
    """Return whether a 206 without a requested range has the whole file as its body.

    Without `Content-Range` there is no range, and the status alone is wrong.
    """
    if headers.get("Content-Type", "").lower().startswith("multipart/byteranges"):
        return False
    if "Content-Range" not in headers:
        return True
    content = parse_content_range_header(headers["Content-Range"])
    if content is None or content.units != "bytes" or content.start != 0 or content.stop is None:
        return False
    size = headers.get("Content-Length") if content.length is None else str(content.length)
    return size == str(content.stop)


def _same_file(headers: Mapping[str, str], validator: str) -> bool:
    if content_coding(headers) is not None:
        return False
    if validator.startswith('"'):
        return headers.get("ETag") == validator
    return "ETag" not in headers and headers.get("Last-Modified") == validator
