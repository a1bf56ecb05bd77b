"""Conditions of a download, in the order of RFC 9110 §13.2.2: If-Match, If-None-Match, then Range.

werkzeug evaluates Range first, so a caller who resumes a download with If-Match would get the rest
of a file that has changed.
"""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flask import request
from werkzeug.http import parse_date, unquote_etag

from idrl_common.problems import Problem

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_LAST_BYTES = re.compile(r"[^=]*=[ \t]*-0*([1-9][0-9]*)[ \t]*", re.ASCII)


def checked_environ(
    tag: str, size_bytes: int, modified_at_s: float | None = None
) -> "WSGIEnvironment":
    """Return the request's environ, without Range where the whole file is to be sent.

    `tag` is the file's strong tag, `size_bytes` its size, `modified_at_s` its modification time
    (Unix seconds). Raise a 412 Problem.
    """
    modified_at = None if modified_at_s is None else datetime.fromtimestamp(int(modified_at_s), UTC)
    if not _is_wanted(tag, modified_at):
        message = "The file does not match the conditions of the request, such as If-Match."
        raise Problem(412, "precondition_failed", message)
    conditions = {"HTTP_IF_MATCH", "HTTP_IF_RANGE"}
    if _is_known(tag, modified_at) or not _range_counts(tag, modified_at):
        conditions.add("HTTP_RANGE")
    environ = {name: value for name, value in request.environ.items() if name not in conditions}
    if "HTTP_RANGE" in environ and _is_all(environ["HTTP_RANGE"], size_bytes):
        environ["HTTP_RANGE"] = "bytes=0-"
    return environ


def _is_all(range_header: str, size_bytes: int) -> bool:
    """Return whether more last bytes are wanted than there are: RFC 9110 §14.1.2 means all of them.

    werkzeug would refuse it.
    """
    wanted = _LAST_BYTES.fullmatch(range_header)
    if wanted is None:
        return False
    digits, size = wanted[1], str(size_bytes)
    return (len(digits), digits) > (len(size), size)  # int() limits the number of digits


def _is_wanted(tag: str, modified_at: datetime | None) -> bool:
    if request.headers.get("If-Match"):
        return request.if_match.contains(tag)
    since = request.if_unmodified_since
    return since is None or modified_at is None or modified_at <= since


def _is_known(tag: str, modified_at: datetime | None) -> bool:
    """Return whether werkzeug answers with 304."""
    if request.headers.get("If-None-Match"):
        return request.if_none_match.contains_weak(tag)
    since = request.if_modified_since
    return since is not None and modified_at is not None and modified_at <= since


def _range_counts(tag: str, modified_at: datetime | None) -> bool:
    """Return whether Range applies: one range of bytes, and If-Range, if sent, matches strongly.

    Of several ranges none is served, as RFC 9110 §14.2 allows.
    """
    unit, _, ranges = request.headers.get("Range", "").partition("=")
    if unit.strip().lower() != "bytes" or "," in ranges:
        return False
    condition = request.headers.get("If-Range")
    if condition is None:
        return True
    date = parse_date(condition)
    return date == modified_at if date else unquote_etag(condition) == (tag, False)
