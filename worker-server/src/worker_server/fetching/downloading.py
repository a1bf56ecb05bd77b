"""A whole download: requests, resuming, limits, and a file that exists only when it is complete."""

import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from tenacity import RetryCallState, Retrying, retry_if_exception_type, sleep_using_event
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from worker_server.errors import FailureCode
from worker_server.fetching.addresses import EgressRules
from worker_server.fetching.content_coding import MAGIC_BYTES, content_coding, is_compressed
from worker_server.fetching.errors import (
    FetchFailed,
    RequestFailed,
    RequestStalled,
    storage_full,
    transient,
)
from worker_server.fetching.limits import Download, FetchLimits
from worker_server.fetching.requesting import Reply, Requester
from worker_server.fetching.resuming import continues, range_end, range_headers, strong_validator
from worker_server.fetching.watchdog import Watchdog

_log = logging.getLogger(__name__)

_CHUNK_BYTES = 256 * 1024
# After a request that brought this much, failures are counted from one again.
_PROGRESS_BYTES = 1024 * 1024
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

ProgressCallback = Callable[[int, int | None], None]


def download(
    url: str,
    destination: Path,
    *,
    limits: FetchLimits,
    allow_hosts: Collection[str],
    deny_hosts: Collection[str] = (),
    on_progress: ProgressCallback,
    should_stop: Callable[[], bool],
    ca_bundle: Path | None = None,
) -> Download:
    """Download the URL to `destination`, which exists afterwards only on success.

    `on_progress(size_bytes, total_bytes)` is called in this thread after each piece, `should_stop`
    in another one ten times a second. `allow_hosts` and `deny_hosts`: see `EgressRules`.
    `ca_bundle` replaces the usual certificate authorities. Raises `FetchFailed` or `Stopped`.
    """
    with Watchdog(limits, should_stop) as watchdog, _file(destination) as file:
        requester = Requester(EgressRules(allow_hosts, deny_hosts), limits, watchdog, ca_bundle)
        transfer = _Transfer(url, file, destination, limits, requester, watchdog, on_progress)
        return transfer.run()


class _Transfer:
    """What is known of the file while it is received, across the requests."""

    def __init__(
        self,
        url: str,
        file: BinaryIO,
        path: Path,
        limits: FetchLimits,
        requester: Requester,
        watchdog: Watchdog,
        on_progress: ProgressCallback,
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
            retry=retry_if_exception_type(RequestFailed),
            stop=self._is_over,
            wait=self._pause_s,
            sleep=sleep_using_event(self._watchdog.over),
            before_sleep=self._log_retry,
            reraise=True,
        )
        try:
            return retrying(self._attempt)
        except RequestFailed as failed:
            raise failed.failure from None

    def _attempt(self) -> Download:
        before_bytes = self._size_bytes
        try:
            return self._fetch()
        except RequestFailed:
            progressed = self._size_bytes - before_bytes >= _PROGRESS_BYTES
            self._failures = 1 if progressed else self._failures + 1
            raise

    def _fetch(self) -> Download:
        headers = range_headers(self._validator, self._size_bytes)
        with self._requester.request(self._url, headers) as reply:
            self._watchdog.begin_body()
            self._begin(reply.response, reply.hosts[-1])
            self._receive(reply)
            return self._finish(reply)

    def _begin(self, response: BaseHTTPResponse, host: str) -> None:
        """Append the body if it is the rest of the same file; start over with a whole file.

        Raise RequestFailed for a 206 that is neither, and forget what was received.
        """
        ranged = bool(self._validator and self._size_bytes)
        if response.status == 200 or (response.status == 206 and not ranged):
            self._start_over()
            self._validator = strong_validator(response.headers)
        elif response.status == 206 and continues(
            response.headers, self._validator or "", self._size_bytes, self._total_bytes
        ):
            self._resumed += 1
        else:
            raise self._no_rest(host)
        self._expect(self._coming_bytes(response, host))

    def _coming_bytes(self, response: BaseHTTPResponse, host: str) -> int | None:
        """Return how long the body is, None where that is not declared.

        A proxy may cut the body and its Content-Length; Content-Range still names the end.
        """
        declared = response.length_remaining
        end_bytes = range_end(response.headers) if response.status == 206 else None
        if end_bytes is None:
            return declared
        coming_bytes = end_bytes - self._size_bytes
        if declared not in (None, coming_bytes):
            raise self._no_rest(host)
        return coming_bytes

    def _no_rest(self, host: str) -> RequestFailed:
        """Discard what was received, and return the failure."""
        self._start_over()
        message = f"{host} does not send the rest of the file."
        return RequestFailed(transient(FailureCode.SOURCE_INCOMPLETE, message))

    def _start_over(self) -> None:
        if self._size_bytes:
            self._file.seek(0)
            self._file.truncate()
        self._size_bytes, self._total_bytes, self._validator = 0, None, None

    def _expect(self, coming_bytes: int | None) -> None:
        """Refuse what is too large before reading any of it; None: the length is not declared."""
        if coming_bytes is None:
            return
        self._total_bytes = self._size_bytes + coming_bytes
        if self._total_bytes > self._limits.max_bytes:
            raise self._too_large()
        if coming_bytes > shutil.disk_usage(self._path.parent).free:
            raise storage_full()

    def _receive(self, reply: Reply) -> None:
        data = self._read_first(reply)
        while data:
            if self._size_bytes + len(data) > self._limits.max_bytes:
                raise self._too_large()
            with self._watchdog.storing():
                self._file.write(data)
                self._size_bytes += len(data)
                self._on_progress(self._size_bytes, self._total_bytes)
            data = self._read(reply)

    def _read_first(self, reply: Reply) -> bytes:
        """Return the first bytes; refuse a compressed body: it could be a decompression bomb."""
        coding = content_coding(reply.response.headers)
        data = self._read(reply)
        if coding is None or self._size_bytes:
            return data
        while len(data) < MAGIC_BYTES and (more := self._read(reply)):
            data += more
        if is_compressed(coding, data):
            raise FetchFailed(
                FailureCode.SOURCE_REFUSED,
                "The source sends the file compressed, though asked not to.",
            )
        return data

    def _read(self, reply: Reply) -> bytes:
        """Return what the next packet brought, up to one byte over the limit on the size."""
        size_bytes = min(_CHUNK_BYTES, self._limits.max_bytes - self._size_bytes + 1)
        try:
            with self._watchdog.waiting():
                data = reply.response.read1(size_bytes, decode_content=False)
        except (HTTPError, OSError, ValueError):
            self._watchdog.check()
            raise RequestFailed(_incomplete(reply)) from None
        self._watchdog.received(len(data))
        self._watchdog.check()
        return data

    def _finish(self, reply: Reply) -> Download:
        if self._total_bytes is not None and self._size_bytes != self._total_bytes:
            raise RequestFailed(_incomplete(reply))
        if not self._size_bytes:
            raise FetchFailed(FailureCode.SOURCE_EMPTY, "The source sent an empty file.")
        headers = reply.response.headers
        etag, content_type = _clean(headers.get("ETag")), _clean(headers.get("Content-Type"))
        return Download(self._size_bytes, reply.hosts, etag, content_type, self._resumed)

    def _too_large(self) -> FetchFailed:
        return FetchFailed(
            FailureCode.SOURCE_TOO_LARGE, f"The file is larger than {self._limits.max_bytes} bytes."
        )

    def _is_over(self, state: RetryCallState) -> bool:
        """Return whether to give up: after too many failures, or if the wait would be too long."""
        error = _error(state)
        if isinstance(error, RequestFailed):
            wait_s = error.failure.retry_after_s
            if wait_s is not None and wait_s > self._max_pause_s():
                return True
        # A stall has already cost `stall_s` or `first_byte_s`: repeat such a request once only.
        retries = min(self._limits.max_retries, 1 if isinstance(error, RequestStalled) else 99)
        return self._failures > retries

    def _max_pause_s(self) -> float:
        limits = self._limits
        return limits.max_backoff_s if self._size_bytes else limits.max_pause_s

    def _pause_s(self, state: RetryCallState) -> float:
        """Return the seconds to wait: what the server requested, else longer after each failure."""
        error = _error(state)
        if isinstance(error, RequestFailed) and error.failure.retry_after_s is not None:
            return error.failure.retry_after_s
        # tenacity's own waits count requests, but a long download may need many that each progress.
        return min(self._limits.max_backoff_s, self._limits.backoff_s * 2.0 ** (self._failures - 1))

    def _log_retry(self, state: RetryCallState) -> None:
        extra = {"size_bytes": self._size_bytes}
        _log.info("request retried: %s", _error(state), extra=extra)


@contextlib.contextmanager
def _file(path: Path) -> Iterator[BinaryIO]:
    """Open the file to write, and remove it when anything goes wrong before it is stored."""
    try:
        with path.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        # A full disk is reported by a write, the flush, the fsync or the close.
        if isinstance(error, OSError) and error.errno in _FULL:
            raise storage_full() from error
        raise


def _incomplete(reply: Reply) -> FetchFailed:
    return transient(
        FailureCode.SOURCE_INCOMPLETE,
        f"{reply.hosts[-1]} closed the connection before the end of the file.",
    )


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _clean(value: str | None) -> str | None:
    """Return a header that is safe to store and to show."""
    return "".join(filter(str.isprintable, value))[:200] if value else None
