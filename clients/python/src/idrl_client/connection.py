"""HTTP calls to one system, repeated where it is busy or restarting, with errors for people."""

import io
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.exceptions import MaxRetryError, NewConnectionError

from idrl_client.documents import not_idrl, problem, sentence_of
from idrl_client.errors import IdrlError, NotFound, NotLoggedIn, Refused, Unreachable

_CONNECT_S = 10.0
_READ_S = 60.0
_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 15.0
_BUSY = frozenset(
    {
        HTTPStatus.LOCKED,  # an earlier call, whose connection was lost, still holds the upload
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_GONE = HTTPStatus.NOT_FOUND
_LOST = HTTPStatus.GATEWAY_TIMEOUT  # the call may have been carried out
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
NO_HEADERS: Mapping[str, str] = {}


class DeletedBefore(Exception):  # no error: what was wanted is done
    """An earlier attempt of this DELETE has done it; its answer was lost."""


class _Bearer(AuthBase):
    """The key or token. As `auth` it keeps requests from sending what ~/.netrc says instead."""

    def __init__(self, key: str | None) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


class _InBlocks(HTTPAdapter):
    """Sends bodies in blocks of 16 KiB, each of which may take _CONNECT_S.

    The time limit of a socket applies to a whole `sendall`, and http.client sends bytes by one.
    """

    def send(
        self,
        request: requests.PreparedRequest,
        *args: Any,  # noqa: ANN401 # those of HTTPAdapter
        **options: Any,  # noqa: ANN401 # as above
    ) -> requests.Response:
        if isinstance(request.body, bytes):
            request.body = io.BytesIO(request.body)  # type: ignore[assignment]  # a file is fine
        return super().send(request, *args, **options)


class Connection:
    """Calls the system at `base_url` with a key or token, or without.

    An answer that the system is busy is waited out for up to `patience_s`, and so is a system that
    has answered before and cannot be reached now. One that never answered is not waited for.
    When a wait ends without an answer, the calls of the next `patience_s` do not wait again.
    """

    def __init__(self, base_url: str, key: str | None = None, *, patience_s: float = 60.0) -> None:
        self.base_url = base_url.rstrip("/")
        self.patience_s = patience_s
        self._has_answered = False
        self._no_wait_until = 0.0
        self._session = requests.Session()
        self._session.auth = _Bearer(key)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _InBlocks())
        if _host(self.base_url) in _LOOPBACK:
            self._session.trust_env = False  # a proxy could not reach this machine's loopback

    def call(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        is_repeatable: bool = True,
        **options: Any,  # noqa: ANN401 # those of requests
    ) -> requests.Response:
        """Return the successful response; raise a subclass of IdrlError, or DeletedBefore.

        `is_repeatable` says that a second call does no harm where the first one's answer was lost.
        """
        deadline = self._deadline()
        pause_s, is_answer_lost = _FIRST_PAUSE_S, False
        while True:
            try:
                answer = self._send(method, path, headers, options)
            except requests.RequestException as error:
                can_wait = self._has_answered and (is_repeatable or _is_unsent(error))
                if not can_wait or self._is_too_long(pause_s, deadline):
                    raise Unreachable(_connection_message(self.base_url, error)) from error
                wait_s, is_answer_lost = pause_s, True
            else:
                if not _is_busy(answer):
                    self._no_wait_until = 0.0
                if answer.ok:
                    return answer
                if method == "DELETE" and is_answer_lost and answer.status_code == _GONE:
                    raise DeletedBefore
                wait_s = _retry_after_s(answer, pause_s)
                is_answer_lost |= answer.status_code == _LOST
                can_wait = _is_busy(answer) and (is_repeatable or answer.status_code != _LOST)
                if not can_wait or self._is_too_long(wait_s, deadline):
                    raise _error(answer)
            time.sleep(wait_s)
            pause_s = min(2 * pause_s, _MAX_PAUSE_S)

    def _deadline(self) -> float:
        now = time.monotonic()
        return now if now < self._no_wait_until else now + self.patience_s

    def _is_too_long(self, wait_s: float, deadline: float) -> bool:
        """Return whether the deadline does not allow this wait; the next calls then do not wait."""
        now = time.monotonic()
        if now + wait_s <= deadline:
            return False
        self._no_wait_until = max(self._no_wait_until, now + self.patience_s)
        return True

    def _send(
        self, method: str, path: str, headers: Mapping[str, str], options: Mapping[str, Any]
    ) -> requests.Response:
        answer = self._session.request(
            method,
            self.base_url + path,
            headers=dict(headers),
            timeout=(_CONNECT_S, _READ_S),
            allow_redirects=False,
            **options,
        )
        self._has_answered = True
        if answer.is_redirect:
            raise _redirected(self.base_url, path, answer)
        return answer


def is_web_address(text: str) -> bool:
    """Return whether this is an http or https URL; the scheme may be in upper case."""
    return text.lower().startswith(("http://", "https://"))


def _host(base_url: str) -> str:
    """Return the host of the URL; raise Unreachable if it is not valid."""
    try:
        parts = urlsplit(base_url)
        _ = parts.port
        host = parts.hostname or ""
        host.encode("idna")
    except ValueError as error:
        raise Unreachable(_no_address(base_url)) from error
    return host


def _is_busy(answer: requests.Response) -> bool:
    """Return whether waiting helps: quotas end when tasks do or the day does, not in seconds.

    A 429 without Retry-After is a limit of what the account may have, such as brands.
    """
    if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS and "Retry-After" not in answer.headers:
        return False
    return answer.status_code in _BUSY and not _code(answer).startswith("quota_")


def _retry_after_s(answer: requests.Response, default_s: float) -> float:
    """Return how long the answer asks to wait, never less than the first pause."""
    header = answer.headers.get("Retry-After", "")
    if header.isdecimal():
        return max(float(header), _FIRST_PAUSE_S)
    try:
        until = parsedate_to_datetime(header)
        now = parsedate_to_datetime(answer.headers["Date"])  # the clock of the system, not ours
        return max((until - now).total_seconds(), default_s)
    except (KeyError, TypeError, ValueError):
        return default_s


def _code(answer: requests.Response) -> str:
    return str(problem(answer).get("code", ""))


def _error(answer: requests.Response) -> IdrlError:
    """Return the exception for an error response."""
    refusal = problem(answer)
    if not refusal:
        return not_idrl(answer)
    message = sentence_of(refusal)
    if refusal["code"] == "bad_credentials":
        return NotLoggedIn(message)
    if answer.status_code == HTTPStatus.UNAUTHORIZED:
        return NotLoggedIn(f"{message}: create a key and log in with `idrl login`")
    if answer.status_code == HTTPStatus.NOT_FOUND:
        return NotFound(message)
    if _is_busy(answer):
        return Unreachable(message)
    return Refused(message, refusal["code"])


def _redirected(base_url: str, path: str, answer: requests.Response) -> Unreachable:
    """Return the error for a redirect, with the address of the system without the call's path."""
    target = urljoin(answer.url, answer.headers["Location"]).partition("?")[0]
    if not target.endswith(path):
        return not_idrl(answer)
    address = target.removesuffix(path)
    return Unreachable(f"{base_url} redirects to {address}: give that address as IDRL_URL")


def _is_unsent(error: requests.RequestException) -> bool:
    """Return whether no connection was made, so that the call cannot have been carried out."""
    cause = error.args[0] if error.args else None
    is_refused = isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)
    return is_refused or isinstance(error, requests.ConnectTimeout)


def _no_address(base_url: str) -> str:
    return f"{base_url} is not a valid address, such as IDRL_URL=https://idrl.example.com"


def _connection_message(base_url: str, error: requests.RequestException) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return _tls_message(base_url, str(error))
    if isinstance(error, requests.exceptions.ProxyError):
        return f"the proxy does not lead to {base_url}: see HTTPS_PROXY and NO_PROXY"
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return _no_address(base_url)
    return f"no system answers at {base_url}: is it up, and is IDRL_URL right?"


def _tls_message(base_url: str, error: str) -> str:
    """Return what to do about an error of OpenSSL, which is known by its words only."""
    if "WRONG_VERSION_NUMBER" in error or "RECORD_LAYER_FAILURE" in error:
        address = f"http{base_url[len('https') :]}"
        return f"{base_url} does not speak TLS: is it {address}, or has TLS another port?"
    if "mismatch, certificate is not valid for" in error:
        return f"{base_url} has a certificate for another name: give that name in IDRL_URL"
    if "has expired" in error or "is not yet valid" in error:
        fault = "has a certificate that is not valid now"
        return f"{base_url} {fault}: is the clock of this machine right?"
    return (
        f"{base_url} has a certificate that this machine does not trust:"
        " add its authority to the system's store, or name its file in REQUESTS_CA_BUNDLE"
    )
