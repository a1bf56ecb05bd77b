"""Which hosts and addresses a download may connect to."""

import socket
from collections.abc import Collection
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# `ip_address().is_global` is True for some of these in one Python version or another. They embed
# or translate to an IPv4 address, are for documentation, or are local by an older standard; the
# last one is public space on which Azure serves its virtual machines' metadata.
_NOT_PUBLIC = tuple(
    ip_network(text)
    for text in (
        "::/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2001::/23",
        "2002::/16",
        "3fff::/20",
        "fec0::/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "168.63.129.16/32",
    )
)


def is_public(address: Address) -> bool:
    """Return whether the address belongs to the public internet.

    An IPv4 address that is mapped into IPv6 is treated as the IPv4 address.
    """
    address = _unmap(address)
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(_contains(network, address) for network in _NOT_PUBLIC)


def literal_address(host: str) -> Address | None:
    """Return the address that a host name spells out, None when it needs DNS.

    Accepts each form that `getaddrinfo` accepts without DNS (`127.1`, `0x7f000001`).
    """
    host = host.removesuffix(".")
    try:
        return _unmap(ip_address(host))
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


class EgressRules:
    """The operator's exceptions from the rule that only public addresses are connected to.

    `allow`: names or addresses that may be private, each with or without a port (`media.lan:9000`,
    `[::1]:80`). `deny`: networks (`10.0.0.0/8`), addresses, and names with all names below them,
    the last two with or without a port. A denial overrides an allowance.
    """

    def __init__(self, allow: Collection[str] = (), deny: Collection[str] = ()) -> None:
        self._allowed = frozenset(_parse_host(entry) for entry in allow)
        networks = {entry: _parse_network(entry) for entry in deny}
        self._denied_networks = [network for network in networks.values() if network]
        self._denied_hosts = frozenset(
            _parse_host(entry.removeprefix("*").removeprefix("."))
            for entry, network in networks.items()
            if network is None
        )

    def allows(self, host: str | Address, port: int) -> bool:
        """Return whether the host may have a private address and an unusual port."""
        name = _canonical(str(host))
        return (name, None) in self._allowed or (name, port) in self._allowed

    def denies(self, host: str | Address, port: int) -> bool:
        """Return whether the operator forbids the host, by its name, address or network."""
        address = literal_address(str(host))
        if address and any(_contains(network, address) for network in self._denied_networks):
            return True
        names = [str(address)] if address else _with_parents(_canonical(str(host)))
        return any((name, at) in self._denied_hosts for name in names for at in (None, port))


def _unmap(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _contains(network: Network, address: Address) -> bool:
    return network.version == address.version and address in network


def _canonical(host: str) -> str:
    address = literal_address(host)
    return str(address) if address else host.lower().rstrip(".")


def _with_parents(name: str) -> list[str]:
    labels = name.split(".")
    return [".".join(labels[start:]) for start in range(len(labels))]


def _parse_network(entry: str) -> Network | None:
    """Return the network of a `FETCH_DENY_HOSTS` entry, None for a host or an address."""
    return ip_network(entry, strict=False) if "/" in entry else None


def _parse_host(entry: str) -> tuple[str, int | None]:
    if literal_address(entry):
        return _canonical(entry), None
    parts = urlsplit(f"//{entry}")
    if not parts.hostname or parts.path:
        raise ValueError(f"{entry!r} is not a host")
    return _canonical(parts.hostname), parts.port
