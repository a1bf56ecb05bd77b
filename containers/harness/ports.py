"""Ports for the systems under test, so that two runs on one machine leave each other alone."""

import secrets
import socket

# Below the ephemeral ports that the kernel gives to outgoing connections.
_LOWEST, _HIGHEST = 10_000, 19_000


def free_ports(count: int) -> range:
    """Return neighbouring ports that were free a moment ago."""
    while True:
        first = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)
        ports = range(first, first + count)
        if all(map(_is_free, ports)):
            return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


(ONE_MACHINE_PORT,) = free_ports(1)
