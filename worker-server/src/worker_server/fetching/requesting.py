"""One request for the source, through its redirects, up to the headers before the file."""

import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse
from urllib3.util.ssl_match_hostname import CertificateError

from worker_server.errors import FailureCode
from worker_server.fetching.addresses import EgressRules
from worker_server.fetching.connecting import Connector, Dialer
from worker_server.fetching.cookies import Cookies
from worker_server.fetching.errors import (
    AuthoritiesUnreadable,
    FetchFailed,
    RequestFailed,
    transient,
)
from worker_server.fetching.limits import FetchLimits
from worker_server.fetching.resuming import is_whole
from worker_server.fetching.retry_after import retry_after_s
from worker_server.fetching.urls import (
    MAX_LENGTH,
    MAX_TARGET_LENGTH,
    HttpUrl,
    parse_http_url,
    resolve_location,
)
from worker_server.fetching.watchdog import Watchdog

_HEADERS = {"User-Agent": "idrl/1", "Accept": "*/*", "Accept-Encoding": "identity"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GONE = frozenset({404, 410})
_TRY_LATER = frozenset({408, 425, 429})
# The connection broke in the handshake; every other TLS error is final.
_TLS_INTERRUPTED = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


@dataclass(frozen=True)
class Reply:
    """Headers that may be followed by the file: status 200 or 206, or 416 to a range."""

    response: BaseHTTPResponse
    hosts: tuple[str, ...]


class Requester:
    """Sends the requests of one download; all of them share its cookies."""

    def __init__(
        self,
        rules: EgressRules,
        limits: FetchLimits,
        watchdog: Watchdog,
        ca_bundle: Path | None = None,
    ) -> None:
        self._rules = rules
        self._limits = limits
        self._watchdog = watchdog
        self._cookies = Cookies()
        dialer = Dialer(rules, watchdog, limits)
        self._connector = Connector(dialer, ca_bundle, limits.socket_timeout_s)

    @contextlib.contextmanager
    def request(self, url: str, headers: dict[str, str]) -> Iterator[Reply]:
        """Follow redirects, each checked like the first URL.

        Raises `FetchFailed` or `RequestFailed`.
        """
        hosts: list[str] = []
        for _ in range(self._limits.max_redirects + 1):
            max_length = MAX_TARGET_LENGTH if hosts else MAX_LENGTH
            target = parse_http_url(url, self._rules, max_length)
            hosts.append(target.host)
            with self._exchange(target, headers) as response:
                self._cookies.store(target, response)
                if response.status not in _REDIRECTS or "Location" not in response.headers:
                    self._check_status(response, target.host, ranged="Range" in headers)
                    yield Reply(response, tuple(hosts))
                    return
                # A proxy and the server behind it may both set it; joined they would be no URL.
                url = _next_url(target, response.headers.getlist("Location")[0])
        raise FetchFailed(
            FailureCode.TOO_MANY_REDIRECTS,
            f"The source redirects more than {self._limits.max_redirects} times.",
        )

    @contextlib.contextmanager
    def _exchange(self, url: HttpUrl, headers: dict[str, str]) -> Iterator[BaseHTTPResponse]:
        with contextlib.ExitStack() as stack:
            stack.callback(self._watchdog.release)
            connection = stack.enter_context(contextlib.closing(self._connector.connection(url)))
            yield stack.enter_context(contextlib.closing(self._send(connection, url, headers)))

    def _send(
        self, connection: HTTPConnection, url: HttpUrl, headers: dict[str, str]
    ) -> BaseHTTPResponse:
        """Return once the headers are here; errors have no cause, as its message holds the URL."""
        fields = {**_HEADERS, **headers, **self._cookies.header(url)}
        self._watchdog.begin_request()
        try:
            connection.request(
                "GET", url.target, headers=fields, preload_content=False, decode_content=False
            )
            return connection.getresponse()
        except (
            ssl.SSLError,
            CertificateError,
            HTTPException,
            HTTPError,
            OSError,
            ValueError,
        ) as error:
            self._watchdog.check()
            raise _request_error(error, url.host) from None

    def _check_status(self, response: BaseHTTPResponse, host: str, *, ranged: bool) -> None:
        status = response.status
        if status == 200 or (ranged and status in (206, 416)):
            return
        if status == 206 and is_whole(response.headers):
            return
        message = f"{host} answered with status {status}."
        if status in _GONE:
            raise FetchFailed(FailureCode.SOURCE_NOT_FOUND, message)
        wait_s = retry_after_s(response.headers)
        if wait_s is None and status < 500 and status not in _TRY_LATER:
            raise FetchFailed(FailureCode.SOURCE_REFUSED, message)
        self._check_wait(wait_s, message)
        raise RequestFailed(transient(FailureCode.SOURCE_UNAVAILABLE, message, wait_s))

    def _check_wait(self, wait_s: float | None, message: str) -> None:
        if wait_s is not None and wait_s > self._limits.max_retry_after_s:
            limit = f"{self._limits.max_retry_after_s:g} s"
            raise FetchFailed(
                FailureCode.SOURCE_UNAVAILABLE,
                f"{message} It asks for a wait of more than {limit}.",
            )


def _request_error(error: Exception, host: str) -> Exception:
    """Return the failure: transient if the connection broke, not if TLS or HTTP is wrong."""
    if isinstance(error, ssl.SSLCertVerificationError | CertificateError):
        return FetchFailed(FailureCode.SOURCE_TLS_INVALID, f"{host} has no valid certificate.")
    if isinstance(error, ssl.SSLError) and not isinstance(error, _TLS_INTERRUPTED):
        message = f"{host} offers no TLS that is secure enough (1.2 or later)."
        return FetchFailed(FailureCode.SOURCE_TLS_INVALID, message)
    if isinstance(error, OSError):
        return RequestFailed(transient(FailureCode.SOURCE_UNAVAILABLE, f"{host} does not answer."))
    if isinstance(error.__cause__, OSError):  # raised by urllib3 before the handshake
        return AuthoritiesUnreadable(str(error.__cause__))
    return RequestFailed(
        FetchFailed(FailureCode.SOURCE_UNAVAILABLE, f"{host} does not answer in HTTP.")
    )


def _next_url(url: HttpUrl, location: str) -> str:
    target = resolve_location(url, location)
    if url.scheme == "https" and target.lower().startswith("http:"):
        raise FetchFailed(
            FailureCode.URL_SCHEME_NOT_ALLOWED, "The source redirects from https to http."
        )
    return target
