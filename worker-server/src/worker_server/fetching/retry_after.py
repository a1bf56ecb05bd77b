"""The `Retry-After` header (RFC 9110, section 10.2.3)."""

import datetime
from collections.abc import Mapping
from email.utils import parsedate_to_datetime


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the server asks to wait, None when it does not say so.

    A date is compared with the response's own `Date`, since the server's clock may be wrong.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value) if len(value) < 20 else float("inf")
    when = parse_date(value)
    if when is None:
        return None
    now = parse_date(headers.get("Date", "")) or datetime.datetime.now(datetime.UTC)
    return max(0.0, (when - now).total_seconds())


def parse_date(value: str) -> datetime.datetime | None:
    """Return an HTTP date in any of its three forms, None for anything else."""
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return date.replace(tzinfo=datetime.UTC) if date.tzinfo is None else date
