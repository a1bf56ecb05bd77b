"""How much a download may take, and what it gives back."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FetchLimits:
    """Each limit is a real deadline or an exact count, whatever the server does.

    `timeout_s` covers the whole download with its retries. `first_byte_s` covers one request from the name's look-up
    to the end of the headers. `stall_s` is the time without a byte, and the window over which `min_bytes_per_s` is
    asked for; time spent waiting for our own disk does not count. `max_retries` counts failures in a row.
    """

    max_bytes: int = 2 * 1024**3
    timeout_s: float = 3600
    stall_s: float = 30
    connect_s: float = 5
    first_byte_s: float = 30
    min_bytes_per_s: int = 16 * 1024
    max_redirects: int = 5
    max_retries: int = 3
    backoff_s: float = 0.5
    max_backoff_s: float = 30


@dataclass(frozen=True)
class Download:
    """A finished download: `hosts` it went through, and how often a broken connection was `resumed`."""

    size_bytes: int
    hosts: tuple[str, ...]
    etag: str | None
    content_type: str | None
    resumed: int
