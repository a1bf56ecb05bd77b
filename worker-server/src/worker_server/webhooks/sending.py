"""One attempt: a POST to an untrusted URL, without redirects, within one deadline."""

import contextlib
import ssl
from collections.abc import Callable
from http.client import HTTPException

from urllib3.exceptions import HTTPError
from urllib3.util.ssl_match_hostname import CertificateError

from worker_server import webhook_signatures as signing
from worker_server.errors import FailureCode, Stopped
from worker_server.fetching.addresses import EgressRules
from worker_server.fetching.connecting import Connector, Dialer
from worker_server.fetching.errors import FetchFailed, RequestFailed
from worker_server.fetching.limits import FetchLimits
from worker_server.fetching.retry_after import retry_after_s
from worker_server.fetching.urls import parse_http_url
from worker_server.fetching.watchdog import Watchdog
from worker_server.queue.webhooks import Delivery, Outcome

TIMEOUT_S = 10.0
_BROKEN = (ssl.SSLError, CertificateError, HTTPException, HTTPError, OSError, ValueError)


class Sender:
    """Sends deliveries; `rules` are the operator's for webhooks."""

    def __init__(self, rules: EgressRules, timeout_s: float = TIMEOUT_S) -> None:
        self._rules = rules
        self._limits = FetchLimits(
            timeout_s=timeout_s, stall_s=timeout_s, first_byte_s=timeout_s, connect_s=timeout_s / 2
        )

    def send(self, delivery: Delivery, payload: str, should_stop: Callable[[], bool]) -> Outcome:
        """Return the outcome of the attempt; raise Stopped if `should_stop` has ended it."""
        body = payload.encode()
        # By the database's clock: receivers refuse a wrong time, and this machine's may be wrong.
        sent_at_s = int(delivery.attempted_at.timestamp())
        signed = signing.headers(delivery.secrets, f"msg_{delivery.id}", sent_at_s, body)
        try:
            with Watchdog(self._limits, should_stop) as watchdog:
                return self._post(delivery.url, body, signed, watchdog)
        except Stopped:
            raise
        except RequestFailed as error:
            return Outcome(error_code=_receiver_code(error.failure.code))
        except FetchFailed as error:
            return Outcome(error_code=_receiver_code(error.code))

    def _post(self, url: str, body: bytes, signed: dict[str, str], watchdog: Watchdog) -> Outcome:
        """Read the headers alone: what the receiver answers besides its status is not needed."""
        target = parse_http_url(url, self._rules)
        dialer = Dialer(self._rules, watchdog, self._limits)
        # The watchdog keeps the deadline; the socket's timeout counts only if its thread has died.
        connector = Connector(dialer, None, 2 * self._limits.timeout_s)
        fields = {"User-Agent": "idrl/1", "Content-Type": "application/json", **signed}
        watchdog.begin_request()
        with contextlib.closing(connector.connection(target)) as connection:
            try:
                connection.request(
                    "POST", target.target, body, fields, preload_content=False, decode_content=False
                )
                response = connection.getresponse()
            except _BROKEN as error:
                watchdog.check()
                raise _failure_of(error) from None
            with contextlib.closing(response):
                watchdog.check()  # a connection shut down within the headers reads as their end
                return Outcome(response.status, retry_after_s=retry_after_s(response.headers))


def _failure_of(error: Exception) -> FetchFailed:
    """Return the failure, without its cause, whose message holds the URL."""
    if isinstance(error, ssl.SSLError | CertificateError):
        return FetchFailed(FailureCode.SOURCE_TLS_INVALID, "no valid certificate")
    return FetchFailed(FailureCode.SOURCE_UNAVAILABLE, "no answer in HTTP")


_RECEIVER_CODES = {
    FailureCode.SOURCE_TLS_INVALID: "receiver_tls_invalid",
    FailureCode.SOURCE_UNAVAILABLE: "receiver_unavailable",
    FailureCode.SOURCE_TOO_SLOW: "receiver_too_slow",
}


def _receiver_code(code: str) -> str:
    """Return the code as a delivery shows it: codes of sources speak of downloads."""
    return _RECEIVER_CODES.get(FailureCode(code), code)
