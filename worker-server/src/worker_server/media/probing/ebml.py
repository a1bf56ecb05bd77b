"""Walks the elements of Matroska files (RFC 8794, 4 to 6)."""

from collections.abc import Container, Iterator
from itertools import takewhile
from pathlib import Path

_HEAD_BYTES = 1 << 20
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675  # RFC 9559, 5.1
_CUES, _SEEK_HEAD, _SEEK, _SEEK_ID = 0x1C53BB6B, 0x114D9B74, 0x4DBB, 0x53AB


def elements(data: bytes, *, into: Container[int] = ()) -> Iterator[tuple[int, bytes]]:
    """Yield ID and content of each element; the last content may be cut off.

    In place of an element whose ID is in `into`, its children are yielded.
    """
    at = 0
    while at < len(data):
        element, at = _number(data, at, keeps_marker=True)
        size, at = _number(data, at, keeps_marker=False)
        if element not in into:
            yield element, data[at : at + size]
            at += size


def header_elements(path: Path, *into: int) -> Iterator[tuple[int, bytes]]:
    """Yield the elements of the segment before its first cluster, as far as in a file's first MiB.

    `into` as in `elements`.
    """
    with path.open("rb") as file:
        first_bytes = file.read(_HEAD_BYTES)
    of_segment = elements(first_bytes, into=(_SEGMENT, *into))
    return takewhile(lambda each: each[0] != _CLUSTER, of_segment)


def names_cues(path: Path) -> bool:
    """Return whether a file begins with Cues, its index, or with saying where they are."""
    return any(
        element == _CUES or (element == _SEEK_ID and int.from_bytes(content) == _CUES)
        for element, content in header_elements(path, _SEEK_HEAD, _SEEK)
    )


def segment_end(data: bytes) -> int | None:
    """Return where the first segment ends in the file; None where it does not say."""
    at = 0
    while at < len(data):
        element, at = _number(data, at, keeps_marker=True)
        before = at
        size, at = _number(data, at, keeps_marker=False)
        if element == _SEGMENT:
            is_unknown = size == (1 << 7 * (at - before)) - 1
            return None if is_unknown else at + size
        at += size
    return None


def _number(data: bytes, at: int, *, keeps_marker: bool) -> tuple[int, int]:
    """Read a number of variable length (RFC 8794, 4); return it, and the offset after it."""
    if at >= len(data):
        return 0, at
    length = 9 - data[at].bit_length() if data[at] else 8
    value = int.from_bytes(data[at : at + length])
    return value if keeps_marker else value & ((1 << 7 * length) - 1), at + length
