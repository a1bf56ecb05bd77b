"""`Range` and conditions, where nginx and the tasks service read them differently."""

import re

from flask import request

# One range. Of several ones nginx makes multipart/byteranges, and the tasks service serves none;
# nginx refuses tabs, and numbers beyond 63 bits, such as the 18446744073709551615 of some players.
_RANGE = re.compile("bytes= *+[0-9]{0,18} *+- *+[0-9]{0,18} *+", re.IGNORECASE)
# The tasks service also takes tags without quotes and dates in other formats, and an If-Match
# without a value for none.
_TAG = '(W/)?"[^",]*"'
_TAGS = re.compile(rf"\*|{_TAG}([ \t]*,[ \t]*{_TAG})*")
_DATE = "[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}(:[0-9]{2}){2} GMT"
_TAG_OR_DATE = re.compile(f"{_TAG}|{_DATE}")


def can_nginx_answer() -> bool:
    """Return whether nginx evaluates the current request as the tasks service would."""
    # nginx minds this header beside If-Match too, and without a valid date (RFC 9110 §13.1.4).
    has_date = "If-Unmodified-Since" in request.headers
    return not has_date and _can_cut() and _has_only("If-Match", _TAGS)


def _can_cut() -> bool:
    header = request.headers.get("Range", "")
    if header.partition("=")[0].strip().lower() != "bytes":
        return True
    return _RANGE.fullmatch(header) is not None and _has_only("If-Range", _TAG_OR_DATE)


def _has_only(name: str, pattern: re.Pattern[str]) -> bool:
    """Return whether the current request has the header in this form, or not at all."""
    value = request.headers.get(name)
    return value is None or pattern.fullmatch(value) is not None
