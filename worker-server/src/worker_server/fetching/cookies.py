"""The cookies of one download: some sites set one with a redirect and require it at its target."""

import re
import urllib.request
from email.message import Message
from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy
from typing import Any

from urllib3.response import BaseHTTPResponse

from worker_server.fetching.addresses import literal_address
from worker_server.fetching.urls import HttpUrl

# RFC 6265, section 6.1: what every browser stores.
_MAX_COOKIES = 50
_MAX_COOKIE_BYTES = 4096
_SECONDS = re.compile("-?[0-9]+", re.ASCII)


class Cookies:
    """Stores cookies and returns them by Domain, Path, Secure and expiry (RFC 6265)."""

    def __init__(self) -> None:
        self._jar = CookieJar(
            _Policy(
                strict_domain=True,
                strict_ns_domain=DefaultCookiePolicy.DomainStrictNonDomain,
            )
        )

    def store(self, url: HttpUrl, response: BaseHTTPResponse) -> None:
        """Store what the response to a request for the URL sets, up to a size and a number."""
        fields = Message()
        for value in response.headers.getlist("Set-Cookie")[:_MAX_COOKIES]:
            if len(value) <= _MAX_COOKIE_BYTES:
                fields["Set-Cookie"] = _without_ignored(value)
        request = _request(url)
        # http.cookiejar only calls `info()` of a response.
        response_like: Any = _ResponseHeaders(fields)
        for cookie in self._jar.make_cookies(response_like, request):
            if len(self._jar) < _MAX_COOKIES:
                self._jar.set_cookie_if_ok(cookie, request)

    def header(self, url: HttpUrl) -> dict[str, str]:
        """Return the `Cookie` header of a request for the URL; empty without cookies for it."""
        request = _request(url)
        self._jar.add_cookie_header(request)
        value = request.get_header("Cookie")
        return {"Cookie": value} if value else {}


def _without_ignored(set_cookie: str) -> str:
    """Return the header without attributes that count as not sent (RFC 6265, section 5.2).

    For http.cookiejar some of them make the whole cookie invalid.
    """
    pair, *attributes = set_cookie.split(";")
    return ";".join([pair, *filter(_counts, attributes)])


def _counts(attribute: str) -> bool:
    name, _, value = (text.strip() for text in attribute.partition("="))
    match name.lower():
        case "domain":
            return bool(value)
        case "max-age":
            return _SECONDS.fullmatch(value) is not None
        case other:
            return other in ("expires", "path", "secure")


class _Policy(DefaultCookiePolicy):
    def set_ok_domain(self, cookie: Cookie, request: urllib.request.Request) -> bool:
        # The base class compares addresses like names: `Domain=0.0.1` would suit 127.0.0.1.
        host = request.origin_req_host
        if literal_address(host) and cookie.domain.removeprefix(".") != host:
            return False
        return super().set_ok_domain(cookie, request)


class _ResponseHeaders:
    """What CookieJar reads of a response: its headers, by `info()`."""

    def __init__(self, fields: Message) -> None:
        self._fields = fields

    def info(self) -> Message:
        return self._fields


def _request(url: HttpUrl) -> urllib.request.Request:
    return urllib.request.Request(str(url))  # noqa: S310 # it is never opened
