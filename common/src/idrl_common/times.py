"""Times as callers get them."""

from datetime import UTC, datetime


def utc_text(at: datetime) -> str:
    """Return the time in UTC as RFC 3339, to the millisecond: `2026-01-31T12:00:00.000Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
