"""Reads the messages of SEI units (ITU-T H.264, 7.3.2.3; H.265, 7.3.5)."""

from collections.abc import Iterator


def messages(unit: bytes, header_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield type and payload of each message of a unit, whose header has so many bytes."""
    data, at = unit.replace(b"\0\0\3", b"\0\0"), header_bytes
    while at + 2 < len(data):
        kind, at = _number(data, at)
        size, at = _number(data, at)
        yield kind, data[at : at + size]
        at += size


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return a message's type or size (H.264, 7.3.2.3.1), and where it ends."""
    number = 0
    while data[at : at + 1] == b"\xff":
        number, at = number + 255, at + 1
    return number + int.from_bytes(data[at : at + 1]), at + 1
