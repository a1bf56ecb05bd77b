"""What can be told of a URL without the network."""

import unicodedata
from collections.abc import Collection
from urllib.parse import urlsplit

import idna
import requests

from worker_server.fetching.addresses import AllowedHosts, is_public, literal_address
from worker_server.fetching.errors import UrlRefused

MAX_LENGTH = 2048
SCHEMES = {"http": 80, "https": 443}
PORTS = frozenset({80, 443, 8080, 8443})
# RFC 6761, RFC 6762 and the name clouds give to their own services.
_LOCAL_NAMES = ("localhost", "internal", "local", "localdomain")


def check_url(url: str, *, allow_hosts: Collection[str]) -> None:
    """Raise `UrlRefused` for a URL that could never be fetched; asks no DNS and never blocks."""
    normalise(url, AllowedHosts(allow_hosts))


def normalise(url: str, allowed: AllowedHosts) -> str:
    """Return the URL as it is to be requested: percent-encoded, its host in ASCII.

    The errors are those of `check_url`. What the name resolves to is checked when the connection is made.
    """
    if len(url) > MAX_LENGTH:
        raise UrlRefused("url_too_long", f"The URL is longer than {MAX_LENGTH} characters.")
    if url != url.strip() or any(
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in url
    ):
        raise UrlRefused("url_invalid", "The URL holds control characters, or spaces around it.")
    host, port = _authority(url)
    prepared = _prepare(url)
    _check_host(host, port, allowed)
    ascii_host = urlsplit(prepared).hostname or ""
    _check_labels(ascii_host)
    _check_host(ascii_host, port, allowed)
    if port not in PORTS and not allowed.lists(ascii_host, port):
        raise UrlRefused("url_port_not_allowed", f"Port {port} is not allowed.")
    return prepared


def host_of(url: str) -> str:
    """Return the part of a URL that may be shown to people."""
    return urlsplit(url).hostname or ""


def _authority(url: str) -> tuple[str, int]:
    """Return host and port as written, the port of the scheme where there is none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UrlRefused("url_invalid", "This is not a URL.") from None
    # `example.com:8080/x` reads as a scheme with a dot in it: somebody left the scheme out.
    if not parts.scheme or "." in parts.scheme:
        raise UrlRefused(
            "url_invalid", "The URL has no scheme: it starts with http:// or https://."
        )
    if parts.scheme not in SCHEMES:
        raise UrlRefused("url_scheme_not_allowed", "Only http and https URLs are allowed.")
    if "@" in parts.netloc:
        raise UrlRefused(
            "url_credentials_not_allowed", "A URL with a user name or a password is not allowed."
        )
    if not host:
        raise UrlRefused("url_invalid", "The URL has no host.")
    # Full-width digits and other look-alikes are told apart here, before the stricter parser calls them invalid.
    _check_lookalikes(host)
    return host, SCHEMES[parts.scheme] if port is None else port


def _check_lookalikes(host: str) -> None:
    try:
        mapped = idna.uts46_remap(host)
    except idna.IDNAError:
        return
    address = literal_address(mapped)
    if mapped != host and address and not is_public(address):
        raise UrlRefused("url_private_address", "The host is an address that is not public.")


def _prepare(url: str) -> str:
    try:
        return requests.Request("GET", url).prepare().url or ""
    except (requests.RequestException, UnicodeError):
        raise UrlRefused("url_invalid", "This is not a URL.") from None


def _check_labels(host: str) -> None:
    labels = host.removesuffix(".").split(".")
    proper = ":" in host or all(0 < len(label) <= 63 for label in labels)  # RFC 1035, 2.3.4
    if not proper or len(host) > 253 or "%" in host:
        raise UrlRefused("url_invalid", "The URL's host is not a name or an address.")


def _check_host(host: str, port: int, allowed: AllowedHosts) -> None:
    if allowed.lists(host, port):
        return
    address = literal_address(host)
    if address and not is_public(address):
        raise UrlRefused("url_private_address", "The host is an address that is not public.")
    if host.lower().removesuffix(".").rpartition(".")[2] in _LOCAL_NAMES:
        raise UrlRefused("url_private_address", "The host's name is a private one.")
