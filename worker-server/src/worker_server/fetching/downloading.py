"""A whole download: attempts, resumption, limits, and a file that is there only when it is complete."""

import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO

import requests
from tenacity import RetryCallState, Retrying, retry_if_exception_type, sleep_using_event
from urllib3.exceptions import HTTPError

from worker_server.fetching.addresses import AllowedHosts
from worker_server.fetching.errors import AttemptFailed, AttemptStalled, FetchFailed
from worker_server.fetching.limits import Download, FetchLimits
from worker_server.fetching.requesting import Reply, Requester
from worker_server.fetching.resuming import continues, range_headers, validator_of
from worker_server.fetching.urls import host_of
from worker_server.fetching.watchdog import Watchdog

_log = logging.getLogger(__name__)

_CHUNK_BYTES = 256 * 1024
# An attempt that brought this much on was not in vain: failures are counted from one again.
_PROGRESS_BYTES = 1024 * 1024
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

Progress = Callable[[int, int | None], None]


def download(
    url: str,
    destination: Path,
    *,
    limits: FetchLimits,
    allow_hosts: Collection[str],
    on_progress: Progress,
    should_stop: Callable[[], bool],
    ca_bundle: Path | None = None,
) -> Download:
    """Download the URL to `destination`, which exists afterwards only on success.

    `on_progress(size_bytes, total_bytes)` is called in this thread after each piece, `should_stop` in another one ten
    times a second. `ca_bundle` replaces the usual certificate authorities. Raises `FetchFailed` or `FetchStopped`.
    """
    with Watchdog(limits, should_stop) as watchdog, _file(destination) as file:
        requester = Requester(AllowedHosts(allow_hosts), limits, watchdog, ca_bundle)
        transfer = _Transfer(url, file, destination, limits, requester, watchdog, on_progress)
        return transfer.run()


class _Transfer:
    """What is known of the file while it comes, across the attempts."""

    def __init__(
        self,
        url: str,
        file: BinaryIO,
        path: Path,
        limits: FetchLimits,
        requester: Requester,
        watchdog: Watchdog,
        on_progress: Progress,
    ) -> None:
        self._url = url
        self._file = file
        self._path = path
        self._limits = limits
        self._requester = requester
        self._watchdog = watchdog
        self._on_progress = on_progress
        self._size_bytes = 0
        self._total_bytes: int | None = None
        self._validator: str | None = None
        self._failures = 0
        self._resumed = 0

    def run(self) -> Download:
        retrying = Retrying(
            retry=retry_if_exception_type(AttemptFailed),
            stop=self._gives_up,
            wait=self._pause_s,
            sleep=sleep_using_event(self._watchdog.over),
            before_sleep=self._log_retry,
            reraise=True,
        )
        try:
            return retrying(self._attempt)
        except AttemptFailed as failed:
            raise failed.failure from None

    def _attempt(self) -> Download:
        before_bytes = self._size_bytes
        try:
            return self._fetch()
        except AttemptFailed:
            in_vain = self._size_bytes - before_bytes < _PROGRESS_BYTES
            self._failures = self._failures + 1 if in_vain else 1
            raise

    def _fetch(self) -> Download:
        headers = range_headers(self._validator, self._size_bytes)
        with self._requester.request(self._url, headers) as reply:
            self._watchdog.begin_body()
            self._begin(reply.response)
            self._receive(reply.response)
            return self._finish(reply)

    def _begin(self, response: requests.Response) -> None:
        """Place the body: after what is there when it is the rest of the same file, else from the start."""
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in (
            "",
            "identity",
        ):
            raise FetchFailed(
                "source_refused", "The source sends the file compressed, though asked not to."
            )
        if response.status_code == 200:
            self._start_over()
            self._validator = validator_of(response.headers)
        elif response.status_code == 206 and continues(
            response.headers, self._validator or "", self._size_bytes, self._total_bytes
        ):
            self._resumed += 1
        else:
            self._start_over()
            raise AttemptFailed(
                FetchFailed("source_incomplete", "The source does not send the rest of the file.")
            )
        self._expect(response.raw.length_remaining)

    def _start_over(self) -> None:
        if self._size_bytes:
            self._file.seek(0)
            self._file.truncate()
        self._size_bytes, self._total_bytes, self._validator = 0, None, None

    def _expect(self, coming_bytes: int | None) -> None:
        """Refuse what is too large before reading any of it; None is a body without a declared length."""
        if coming_bytes is None:
            return
        self._total_bytes = self._size_bytes + coming_bytes
        if self._total_bytes > self._limits.max_bytes:
            raise self._too_large()
        if coming_bytes > shutil.disk_usage(self._path.parent).free:
            raise FetchFailed("storage_full", "There is no room for the file.", retryable=True)

    def _receive(self, response: requests.Response) -> None:
        while data := self._read(response):
            if self._size_bytes + len(data) > self._limits.max_bytes:
                raise self._too_large()
            self._file.write(data)
            self._size_bytes += len(data)
            self._on_progress(self._size_bytes, self._total_bytes)

    def _read(self, response: requests.Response) -> bytes:
        """Return what the next packet brought. One byte over the limit is asked for, to tell a file that just fits."""
        size_bytes = min(_CHUNK_BYTES, self._limits.max_bytes - self._size_bytes + 1)
        try:
            with self._watchdog.waiting():
                data: bytes = response.raw.read1(size_bytes, decode_content=False)
        except (HTTPError, OSError, ValueError):
            self._watchdog.check()
            raise AttemptFailed(_incomplete(self._url)) from None
        self._watchdog.received(len(data))
        self._watchdog.check()
        return data

    def _finish(self, reply: Reply) -> Download:
        if self._total_bytes is not None and self._size_bytes != self._total_bytes:
            raise AttemptFailed(_incomplete(self._url))
        if not self._size_bytes:
            raise FetchFailed("source_empty", "The source sent an empty file.")
        headers = reply.response.headers
        etag, content_type = _clean(headers.get("ETag")), _clean(headers.get("Content-Type"))
        return Download(self._size_bytes, reply.hosts, etag, content_type, self._resumed)

    def _too_large(self) -> FetchFailed:
        return FetchFailed(
            "source_too_large", f"The file is larger than {self._limits.max_bytes} bytes."
        )

    def _gives_up(self, state: RetryCallState) -> bool:
        # Each stall has already cost its full time, so there is one more try and no third.
        stalled = isinstance(_error(state), AttemptStalled)
        return self._failures > min(
            self._limits.max_retries, 1 if stalled else self._limits.max_retries
        )

    def _pause_s(self, state: RetryCallState) -> float:
        """Return the seconds to wait: what the server asked for, within reason, else longer after each failure."""
        error = _error(state)
        if isinstance(error, AttemptFailed) and error.wait_s is not None:
            return min(error.wait_s, self._limits.max_backoff_s)
        # tenacity's own waits count attempts, and a long download may well need many that each bring it on.
        return min(self._limits.max_backoff_s, self._limits.backoff_s * 2.0 ** (self._failures - 1))

    def _log_retry(self, state: RetryCallState) -> None:
        _log.info(
            "the download is tried again: %s", _error(state), extra={"size_bytes": self._size_bytes}
        )


@contextlib.contextmanager
def _file(path: Path) -> Iterator[BinaryIO]:
    """Open the file to write; whatever goes wrong before it is safely stored removes it."""
    try:
        with path.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        # A full disk may show at a write, at the flush or at the close.
        if isinstance(error, OSError) and error.errno in _FULL:
            raise FetchFailed(
                "storage_full", "There is no room for the file.", retryable=True
            ) from error
        raise


def _incomplete(url: str) -> FetchFailed:
    return FetchFailed("source_incomplete", f"{host_of(url)} broke off before the end of the file.")


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _clean(value: str | None) -> str | None:
    """Return a header that is safe to store and to show."""
    return "".join(filter(str.isprintable, value))[:200] if value else None
