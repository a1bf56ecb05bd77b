"""Takes MP4 files apart into boxes, and makes boxes (ISO/IEC 14496-12, 4.2)."""

import struct
from collections.abc import Iterator
from pathlib import Path


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


def with_aperture(path: Path, numbers: tuple[int, ...], to: Path) -> Path:
    """Give each video track a clean aperture (ISO/IEC 14496-12, 12.1.4)."""
    return with_entry_box(path, box(b"clap", struct.pack(">8i", *numbers)), to)


def with_entry_box(path: Path, added: bytes, to: Path) -> Path:
    """Add a box to the sample entry of each video track."""

    def changed(kind: bytes, content: bytes) -> bytes:
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
            return b"".join(box(inner, changed(inner, more)) for inner, more in boxes(content))
        if kind == b"stsd" and content[12:16] in (b"avc1", b"hev1", b"jpeg"):
            ((entry, fields),) = boxes(content[8:])
            return content[:8] + box(entry, fields + added)
        return content

    whole = path.read_bytes()
    *_, (kind, movie) = boxes(whole)  # the index is last: no sample moves
    assert kind == b"moov"
    to.write_bytes(whole[: -len(movie) - 8] + box(kind, changed(kind, movie)))
    return to
