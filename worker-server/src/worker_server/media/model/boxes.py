"""Walks the boxes of MP4 and QuickTime files (ISO/IEC 14496-12, 4.2)."""

from collections.abc import Iterator
from typing import BinaryIO

Span = tuple[int, int]  # first byte, and the byte after the last


def boxes(file: BinaryIO, span: Span, wanted: bytes = b"") -> Iterator[tuple[bytes, Span]]:
    """Yield type and content span of each box in `span`, or of those of the type `wanted`."""
    at, end = span
    while at + 8 <= end:
        file.seek(at)
        header = file.read(16)
        size, kind, header_size = int.from_bytes(header[:4]), header[4:8], 8
        if size == 1:
            size, header_size = int.from_bytes(header[8:16]), 16
        size = size or end - at
        if size < header_size:
            return
        if kind == wanted or not wanted:
            yield kind, (at + header_size, min(at + size, end))
        at += size


def spans_at(file: BinaryIO, span: Span, *kinds: bytes) -> list[Span]:
    """Return the content spans of all boxes at a path of box types."""
    spans = [span]
    for wanted in kinds:
        spans = [inner for outer in spans for _, inner in boxes(file, outer, wanted)]
    return spans
