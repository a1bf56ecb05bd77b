"""Takes MP4 files apart into boxes, and makes boxes (ISO/IEC 14496-12, 4.2)."""

import struct
from collections.abc import Iterator


def boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of each box."""
    at = 0
    while at < len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        yield kind, content[at + 8 : at + size]
        at += size


def box(kind: bytes, *content: bytes) -> bytes:
    """Return a box of what is joined."""
    joined = b"".join(content)
    return struct.pack(">I4s", len(joined) + 8, kind) + joined
