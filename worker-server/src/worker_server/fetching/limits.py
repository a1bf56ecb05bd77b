"""How much a download may take, and what it returns."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FetchLimits:
    """Each limit is a real deadline or an exact count, whatever the server does.

    `timeout_s` covers the whole download with its retries. `first_byte_s` covers one request from
    resolving the name to the end of the headers. `stall_s` is the time without a byte, and the
    window over which `min_bytes_per_s` is required. Time spent waiting for our own disk counts in
    none of them. `max_retries` counts failures in a row.

    `max_retry_after_s`: a server that asks for a longer wait has failed. A wait above `max_pause_s`
    ends the download, so that it does not hold a worker. Once bytes have been received, they would
    be lost, so the limit is `max_backoff_s` then.
    """

    max_bytes: int = 2 * 1024**3
    timeout_s: float = 3600
    stall_s: float = 30
    connect_s: float = 5
    first_byte_s: float = 30
    min_bytes_per_s: int = 16 * 1024
    max_redirects: int = 10
    max_retries: int = 3
    backoff_s: float = 0.5
    max_backoff_s: float = 30
    max_pause_s: float = 5
    max_retry_after_s: float = 900

    @property
    def socket_timeout_s(self) -> float:
        """A socket's timeout: the watchdog keeps the deadlines, so it counts only if that died."""
        return self.first_byte_s + self.stall_s


@dataclass(frozen=True)
class Download:
    """A finished download: the `hosts` of all redirects, and how often it was `resumed`."""

    size_bytes: int
    hosts: tuple[str, ...]
    etag: str | None
    content_type: str | None
    resumed: int
