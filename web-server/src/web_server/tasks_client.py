"""The client of the tasks service: persistent connections, retries, and what may go wrong."""

import json
import logging
import math
import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, Retry, Timeout, connection_from_url
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError, ReadTimeoutError, SSLError
from urllib3.util import SKIP_HEADER

_PROBE_TIMEOUT_S = 2.7
_MAX_READY_BYTES = 64 * 1024
# A service that answered within this time and cannot be reached now is probably restarting.
_RESTART_S = 8.0
_RESTART_POLL_S = 0.2
_log = logging.getLogger(__name__)


class TasksUnavailable(Exception):
    """The tasks service cannot be reached, or closed the connection."""

    def __init__(self) -> None:
        super().__init__("The tasks service cannot be reached at the moment.")


class TasksTimeout(Exception):
    """The tasks service took the call and did not answer in time."""

    def __init__(self) -> None:
        super().__init__("The tasks service did not answer in time.")


class TasksDegraded(Exception):
    """The tasks service takes calls, and its own `/ready` names what does not work."""


class _RetryLostConnection(Retry):
    """Repeats a call on a new connection when the old one was lost, not when the answer is slow."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        if isinstance(error, ReadTimeoutError):
            raise error
        return super().increment(method, url, response, error, _pool, _stacktrace)


_RETRY = _RetryLostConnection(
    total=1,
    connect=False,
    read=1,
    redirect=False,
    status=0,
    other=False,
    # The caller decides about a 503 with Retry-After.
    respect_retry_after_header=False,
    # Not DELETE: the repeat of an abort would remove the task.
    allowed_methods={"GET", "HEAD", "OPTIONS"},
)


class TasksService:
    """Client of the tasks service, with a pool of persistent connections."""

    def __init__(
        self,
        url: str,
        *,
        connect_timeout_s: float,
        timeout_s: float,
        pool_size: int,
        authority: Path | None = None,
    ) -> None:
        """With https the service's certificate must come from `authority`, a PEM file."""
        self._connect_timeout_s, self._timeout_s = connect_timeout_s, timeout_s
        self._answered_at = -math.inf
        trust: dict[str, str] = {}
        if authority and url.startswith("https://"):
            trust["ca_certs"] = str(authority)
        self._pool: HTTPConnectionPool = connection_from_url(url, maxsize=pool_size, **trust)

    def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: Timeout | None = None,
    ) -> BaseHTTPResponse:
        """Return the answer, its body still to be read; raise TasksUnavailable or TasksTimeout.

        Without a `timeout` the call waits for a restarting service, which has received none of it.
        """
        began = time.monotonic()
        while True:
            waited_s = time.monotonic() - began
            own = Timeout(connect=self._connect_timeout_s, read=self._timeout_s - waited_s)
            try:
                return self._send_once(method, target, headers, body, timeout or own)
            except NewConnectionError as error:
                if timeout or not self._may_restart(waited_s):
                    raise TasksUnavailable from error
            time.sleep(_RESTART_POLL_S)

    def _may_restart(self, waited_s: float) -> bool:
        """Return whether the service answered just now, and the call has time to wait for it."""
        is_recent = time.monotonic() < self._answered_at + _RESTART_S
        return is_recent and waited_s + _RESTART_POLL_S < self._timeout_s * 2 / 3

    def _send_once(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: Timeout,
    ) -> BaseHTTPResponse:
        """Send without a retry; raise NewConnectionError where the service does not listen."""
        try:
            answer = self._pool.urlopen(
                method,
                target,
                body,
                # Without these two urllib3 sends its own.
                headers={"Accept-Encoding": "identity", "User-Agent": SKIP_HEADER, **headers},
                retries=_RETRY,
                redirect=False,
                timeout=timeout,
                preload_content=False,
                decode_content=False,
            )
        except ReadTimeoutError as error:
            raise TasksTimeout from error
        except NewConnectionError:
            raise
        except HTTPError as error:
            if isinstance(reason := getattr(error, "reason", error), SSLError):
                # The operator's mistake, so it is logged: callers only learn "unavailable".
                _log.warning("TLS verification of the tasks service failed: %s", reason)
            raise TasksUnavailable from error
        self._answered_at = time.monotonic()
        return answer

    def ping(self) -> None:
        """Raise unless the service is ready: TasksDegraded where a dependency is unavailable."""
        response = self.send("GET", "/ready", {}, None, Timeout(total=_PROBE_TIMEOUT_S))
        body = read_body(response, _MAX_READY_BYTES)
        if response.status != HTTPStatus.OK:
            raise TasksUnavailable
        if json.loads(body).get("status") == "degraded":
            raise TasksDegraded


def read_body(answer: BaseHTTPResponse, max_bytes: int | None = None) -> bytes:
    """Return the body; raise TasksUnavailable or TasksTimeout where it does not come to its end."""
    try:
        return answer.read(max_bytes)
    except ReadTimeoutError as error:
        raise TasksTimeout from error
    except HTTPError as error:
        raise TasksUnavailable from error
    finally:
        release(answer)


def release(answer: BaseHTTPResponse) -> None:
    """Return the connection to the pool, or close it when a part of the answer is still unread."""
    if answer.length_remaining == 0:
        answer.release_conn()
    else:
        answer.close()
