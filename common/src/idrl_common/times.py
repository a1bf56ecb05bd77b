"""Times as callers get them."""

from datetime import UTC, datetime


def utc_text(at: datetime) -> str:
    """Return the time in UTC as RFC 3339, to the millisecond: `2026-01-31T12:00:00.000Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def play_time(seconds: float) -> str:
    """Return a time of a video as players show it: `1:05`, or `1:02:05` from an hour on."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
