"""Parsing and checking a URL without the network.

The target of the request is sent as it was written: stores sign the raw string, so a legal
character must be neither encoded nor decoded, and only illegal characters are percent-encoded.
"""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import idna
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from worker_server.errors import FailureCode
from worker_server.fetching.addresses import EgressRules, is_public, literal_address
from worker_server.fetching.errors import UrlRefused

MAX_LENGTH = 2048
# Of a redirect's target: signed addresses of stores take several thousand (RFC 9110, 4.1).
MAX_TARGET_LENGTH = 8192
SCHEMES = {"http": 80, "https": 443}
PORTS = frozenset({80, 443, 8080, 8443})
# RFC 6761, RFC 6762, and `internal`, which clouds use for their metadata services.
_LOCAL_NAMES = ("localhost", "internal", "local", "localdomain")
# RFC 1035, 2.3.4. With a port and brackets an authority has 8 characters more.
_MAX_HOST_LENGTH = 253
_AUTHORITY = re.compile(r"[^/?#]*//([^/?#]*)")
_AFTER_AUTHORITY = re.compile(r"[^:/?#]+://[^/?#]*(?P<target>[^#]*)", re.DOTALL)
# RFC 3986: what is neither reserved nor unreserved, and a percent sign without two digits.
_ILLEGAL = re.compile(r"[^A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]|%(?![0-9A-Fa-f]{2})")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# Lone surrogates, to which `surrogateescape` maps bytes that are not UTF-8.
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class HttpUrl:
    """A checked URL: `host` is ASCII (IPv6 without brackets), `target` is path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        """Scheme and authority, the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == SCHEMES[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    def __str__(self) -> str:
        return f"{self.origin}{self.target}"


def check_url(url: str, *, allow_hosts: Collection[str], deny_hosts: Collection[str] = ()) -> None:
    """Raise `UrlRefused` for a URL that could never be fetched; sends nothing and never blocks."""
    parse_http_url(url, EgressRules(allow_hosts, deny_hosts))


def parse_http_url(url: str, rules: EgressRules, max_length: int = MAX_LENGTH) -> HttpUrl:
    """Return the URL as it is to be requested; raises `UrlRefused`.

    The addresses that the name resolves to are checked when the connection is made.
    """
    if len(url) > max_length:
        raise UrlRefused(
            FailureCode.URL_TOO_LONG, f"The URL is longer than {max_length} characters."
        )
    if url != url.strip() or any(
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in url
    ):
        raise UrlRefused(
            FailureCode.URL_INVALID, "The URL holds control characters, or spaces around it."
        )
    _check_authority(url)
    scheme, host, port = _split(url)
    ascii_host = _ascii_host(url)
    _check_host(host, port, rules)
    _check_labels(ascii_host)
    _check_host(ascii_host, port, rules)
    if port not in PORTS and not rules.allows(ascii_host, port):
        raise UrlRefused(FailureCode.URL_PORT_NOT_ALLOWED, f"Port {port} is not allowed.")
    return HttpUrl(scheme, ascii_host, port, _target(url))


def resolve_location(url: HttpUrl, location: str) -> str:
    """Return the URL that a `Location` header names, as it was written (RFC 3986, section 5.2).

    `location` is decoded as Latin-1, as http.client does; servers mostly send UTF-8.
    """
    text = location.encode("latin-1").decode("utf-8", "surrogateescape").strip(" \t")
    text = _ESCAPED_BYTE.sub(lambda match: f"%{ord(match[0]) - 0xDC00:02X}", text)
    if _ABSOLUTE.match(text):
        return text
    if text.startswith("//"):
        return f"{url.scheme}:{text}"
    if text.startswith("/"):
        return f"{url.origin}{text}"
    return f"{url.origin}{_merge(url.target, text)}"


def _merge(target: str, reference: str) -> str:
    base_path, _, _ = target.partition("?")
    path = re.split("[?#]", reference, maxsplit=1)[0]
    if not path:
        return base_path + reference if reference.startswith("?") else target
    folder = base_path.rpartition("/")[0]
    return _remove_dot_segments(f"{folder}/{path}") + reference[len(path) :]


def _remove_dot_segments(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _check_authority(url: str) -> None:
    """Raise `UrlRefused` where the host must be too long: `_split` takes quadratic time for it."""
    match = _AUTHORITY.match(url)
    if match and len(match[1]) > _MAX_HOST_LENGTH + 8:
        if "@" in match[1]:
            raise _credentials_refused()
        raise _host_refused()


def _credentials_refused() -> UrlRefused:
    message = "A URL with a user name or a password is not allowed."
    return UrlRefused(FailureCode.URL_CREDENTIALS_NOT_ALLOWED, message)


def _host_refused() -> UrlRefused:
    message = "The URL's host is not a name or an address."
    return UrlRefused(FailureCode.URL_INVALID, message)


def _split(url: str) -> tuple[str, str, int]:
    """Return scheme, host as written, and port; the port of the scheme where none is given."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UrlRefused(FailureCode.URL_INVALID, "This is not a URL.") from None
    # `example.com:8080/x` parses as a scheme with a dot in it: the scheme was left out.
    if not parts.scheme or "." in parts.scheme:
        raise UrlRefused(
            FailureCode.URL_INVALID, "The URL has no scheme: it starts with http:// or https://."
        )
    if parts.scheme not in SCHEMES:
        raise UrlRefused(
            FailureCode.URL_SCHEME_NOT_ALLOWED, "Only http and https URLs are allowed."
        )
    if "@" in parts.netloc:
        raise _credentials_refused()
    if not host or "\\" in parts.netloc:
        raise UrlRefused(FailureCode.URL_INVALID, "The URL has no host.")
    # Full-width digits and other look-alikes: the stricter parser would call them invalid.
    _check_confusables(host)
    return parts.scheme, host, SCHEMES[parts.scheme] if port is None else port


def _check_confusables(host: str) -> None:
    try:
        mapped = idna.uts46_remap(host)
    except idna.IDNAError:
        return
    address = literal_address(mapped)
    if mapped != host and address and not is_public(address):
        raise UrlRefused(
            FailureCode.URL_PRIVATE_ADDRESS, "The host is an address that is not public."
        )


def _ascii_host(url: str) -> str:
    """Return the host in ASCII by urllib3's parser, which is stricter than `urlsplit`."""
    try:
        host = parse_url(url).host or ""
    except (LocationParseError, UnicodeError):
        raise UrlRefused(FailureCode.URL_INVALID, "This is not a URL.") from None
    if host.startswith(("*", ".")) or not host.isascii():
        raise UrlRefused(FailureCode.URL_INVALID, "This is not a URL.")
    return host.removeprefix("[").removesuffix("]").lower()


def _target(url: str) -> str:
    match = _AFTER_AUTHORITY.match(url)
    target = match["target"] if match else ""
    if not target.startswith("/"):
        target = f"/{target}"
    return _ILLEGAL.sub(lambda illegal: quote(illegal[0], safe=""), target)


def _check_labels(host: str) -> None:
    labels = host.removesuffix(".").split(".")
    well_formed = ":" in host or all(0 < len(label) <= 63 for label in labels)  # RFC 1035, 2.3.4
    if not well_formed or len(host) > _MAX_HOST_LENGTH or "%" in host:
        raise _host_refused()


def _check_host(host: str, port: int, rules: EgressRules) -> None:
    if rules.denies(host, port):
        raise UrlRefused(
            FailureCode.URL_HOST_NOT_ALLOWED, "Downloads from this host are not allowed."
        )
    if rules.allows(host, port):
        return
    address = literal_address(host)
    if address and not is_public(address):
        raise UrlRefused(
            FailureCode.URL_PRIVATE_ADDRESS, "The host is an address that is not public."
        )
    if host.lower().removesuffix(".").rpartition(".")[2] in _LOCAL_NAMES:
        raise UrlRefused(FailureCode.URL_PRIVATE_ADDRESS, "The host's name is a private one.")
