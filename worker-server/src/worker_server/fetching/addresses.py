"""Which addresses a stranger may send us to."""

import socket
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address

# `is_global` alone lets these through in one Python version or another (IANA's special-purpose registries): they
# embed or translate to an IPv4 address, are for documentation, or are local by an older standard.
_NOT_PUBLIC = tuple(
    ip_network(text)
    for text in (
        "::/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "3fff::/20",
        "fec0::/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
    )
)


def is_public(address: Address) -> bool:
    """Tell whether an address belongs to the public internet; an IPv4 one wrapped in IPv6 is judged as IPv4."""
    address = _unwrap(address)
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(
        address.version == network.version and address in network for network in _NOT_PUBLIC
    )


def literal_address(host: str) -> Address | None:
    """Return the address a host is, in any form `getaddrinfo` takes without asking DNS (`127.1`, `0x7f000001`)."""
    host = host.removesuffix(".")
    try:
        return _unwrap(ip_address(host))
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


class AllowedHosts:
    """Hosts exempt from the rule: names or addresses, each with or without a port (`media.lan:9000`, `[::1]:80`)."""

    def __init__(self, entries: Collection[str]) -> None:
        self._entries = frozenset(_parse(entry) for entry in entries)

    def lists(self, host: str | Address, port: int) -> bool:
        """Tell whether the host is listed, with this port or with none."""
        name = _canonical(str(host))
        return (name, None) in self._entries or (name, port) in self._entries


def _unwrap(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _canonical(host: str) -> str:
    address = literal_address(host)
    return str(address) if address else host.lower().rstrip(".")


def _parse(entry: str) -> tuple[str, int | None]:
    if literal_address(entry):
        return _canonical(entry), None
    parts = urlsplit(f"//{entry}")
    return _canonical(parts.hostname or ""), parts.port
