"""One request for the source, through its redirects, up to headers that promise the file."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urljoin

import requests
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util import Retry

from worker_server.fetching.addresses import AllowedHosts
from worker_server.fetching.connecting import Dialer, PinnedAdapter
from worker_server.fetching.errors import AttemptFailed, FetchFailed, UrlRefused
from worker_server.fetching.limits import FetchLimits
from worker_server.fetching.urls import host_of, normalise
from worker_server.fetching.watchdog import Watchdog

_HEADERS = {"User-Agent": "idrl/1", "Accept": "*/*", "Accept-Encoding": "identity"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GONE = frozenset({404, 410})
_TRY_LATER = frozenset({408, 429})
_NETWORK_ERRORS = (requests.RequestException, HTTPError, HTTPException, OSError, ValueError)


@dataclass(frozen=True)
class Reply:
    """Headers that may be followed by the file: status 200, or 206 and 416 when a range was asked for."""

    response: requests.Response
    hosts: tuple[str, ...]


class Requester:
    """Sends the request of each attempt. There is no `Session`: it reads the body of a redirect into memory."""

    def __init__(
        self,
        allowed: AllowedHosts,
        limits: FetchLimits,
        watchdog: Watchdog,
        ca_bundle: Path | None = None,
    ) -> None:
        self._allowed = allowed
        self._limits = limits
        self._watchdog = watchdog
        self._dialer = Dialer(allowed, watchdog, limits.connect_s)
        self._verify: str | bool = str(ca_bundle) if ca_bundle else True

    @contextlib.contextmanager
    def request(self, url: str, headers: dict[str, str]) -> Iterator[Reply]:
        """Follow redirects, each checked like the first URL; raises `FetchFailed` or `AttemptFailed`."""
        hosts: list[str] = []
        with contextlib.ExitStack() as stack:
            adapter = PinnedAdapter(self._dialer)
            stack.callback(self._watchdog.release)
            stack.callback(adapter.close)
            for _ in range(self._limits.max_redirects + 1):
                url = self._checked(url)
                hosts.append(host_of(url))
                response = stack.enter_context(
                    contextlib.closing(self._send(adapter, url, headers))
                )
                if response.status_code not in _REDIRECTS or "Location" not in response.headers:
                    _check_status(response, hosts[-1], ranged="Range" in headers)
                    yield Reply(response, tuple(hosts))
                    return
                url = _next_url(url, response.headers["Location"])
        raise FetchFailed(
            "too_many_redirects",
            f"The source redirects more than {self._limits.max_redirects} times.",
        )

    def _checked(self, url: str) -> str:
        try:
            return normalise(url, self._allowed)
        except UrlRefused as refused:
            raise FetchFailed(refused.code, refused.message) from None

    def _send(self, adapter: PinnedAdapter, url: str, headers: dict[str, str]) -> requests.Response:
        """Return once the headers are here. The causes of errors hold the whole URL, so they are left out."""
        request = requests.Request("GET", url, headers={**_HEADERS, **headers}).prepare()
        # The watchdog is what keeps the deadlines; this one is for a watchdog that died.
        timeout = (self._limits.first_byte_s, self._limits.first_byte_s + self._limits.stall_s)
        self._watchdog.begin_request()
        try:
            return adapter.send(request, stream=True, timeout=timeout, verify=self._verify)
        except requests.exceptions.SSLError:
            self._watchdog.check()
            raise FetchFailed(
                "source_tls_invalid", f"{host_of(url)} has no valid certificate."
            ) from None
        except _NETWORK_ERRORS:
            self._watchdog.check()
            raise AttemptFailed(
                FetchFailed("source_unavailable", f"{host_of(url)} does not answer.")
            ) from None


def _next_url(url: str, location: str) -> str:
    try:
        # Header values are decoded as Latin-1, what servers put there is mostly UTF-8.
        target = urljoin(url, location.encode("latin-1").decode("utf-8", "replace"))
    except ValueError:
        raise FetchFailed(
            "url_invalid", "The source redirects to something that is not a URL."
        ) from None
    if url.startswith("https:") and target.lower().startswith("http:"):
        raise FetchFailed("url_scheme_not_allowed", "The source redirects from https to http.")
    return target


def _check_status(response: requests.Response, host: str, *, ranged: bool) -> None:
    status = response.status_code
    if status == 200 or (ranged and status in (206, 416)):
        return
    said = f"{host} answered with status {status}."
    if status in _GONE:
        raise FetchFailed("source_not_found", said)
    if status >= 500 or status in _TRY_LATER:
        raise AttemptFailed(FetchFailed("source_unavailable", said), wait_s=_retry_after(response))
    raise FetchFailed("source_refused", said)


def _retry_after(response: requests.Response) -> float | None:
    try:
        return Retry().parse_retry_after(response.headers["Retry-After"])
    except (KeyError, ValueError, OverflowError, InvalidHeader):
        return None
