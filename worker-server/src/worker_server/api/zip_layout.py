"""The layout of a ZIP with uncompressed members: size known in advance, readable at any offset.

Formats and limits are those of PKWARE's APPNOTE 6.3.10: local header 4.3.7, central directory
4.3.12, Zip64 4.3.14 to 4.3.15 and 4.5.3.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from struct import pack
from typing import BinaryIO, NamedTuple
from zlib import crc32

CHUNK_BYTES = 256 * 1024
_MAX_32, _MAX_16 = 0xFFFFFFFF, 0xFFFF
_PLAIN_VERSION, _ZIP64_VERSION = 20, 45
_UTF8_NAMES = 1 << 11
_MADE_ON_UNIX = 3 << 8
_MODE = 0o100644 << 16
Opener = Callable[[Path], BinaryIO]


class MemberChanged(Exception):
    """A file of the ZIP is shorter than it was announced."""


@dataclass(frozen=True)
class Member:
    """A file in the ZIP: its content, or the path of a file of `size_bytes` with that CRC-32."""

    name: str
    modified: datetime
    content: bytes | Path
    size_bytes: int
    crc32: int

    @classmethod
    def of_bytes(cls, name: str, modified: datetime, content: bytes) -> "Member":
        """Return the member with this content."""
        return cls(name, modified, content, len(content), crc32(content))


class _Extent(NamedTuple):
    start: int
    length: int
    content: bytes | Path


class ZipLayout:
    """A ZIP of these members, in this order.

    `size_bytes` is its exact length. `digest` is the same for the same names, sizes and contents
    (hex SHA-256 of all bytes but those of the files, of which it covers the CRC-32).
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._extents: list[_Extent] = []
        self.size_bytes = 0
        directory = []
        for member in members:
            directory.append(_directory_entry(member, self.size_bytes))
            self._append(_local_header(member))
            self._append(member.content, member.size_bytes)
        start = self.size_bytes
        self._append(b"".join(directory))
        self._append(_end(len(members), self.size_bytes - start, start))
        contents = (extent.content for extent in self._extents)
        known = b"".join(content for content in contents if isinstance(content, bytes))
        self.digest = hashlib.sha256(known).hexdigest()

    def _append(self, content: bytes | Path, length: int | None = None) -> None:
        extent_length = len(content) if isinstance(content, bytes) else length or 0
        self._extents.append(_Extent(self.size_bytes, extent_length, content))
        self.size_bytes += extent_length

    def read(self, start: int, length: int, open_file: Opener) -> Iterator[bytes]:
        """Yield `length` bytes from `start` on, at most CHUNK_BYTES at once.

        Raise OSError of a file, and MemberChanged.
        """
        end = start + length
        for extent in self._extents:
            low, high = max(start, extent.start), min(end, extent.start + extent.length)
            if low >= high:
                continue
            offset = low - extent.start
            if isinstance(extent.content, bytes):
                yield extent.content[offset : offset + high - low]
            else:
                yield from _read_file(open_file, extent.content, offset, high - low)


def _read_file(open_file: Opener, path: Path, offset: int, length: int) -> Iterator[bytes]:
    with open_file(path) as file:
        file.seek(offset)
        while length:
            chunk = file.read(min(length, CHUNK_BYTES))
            if not chunk:
                raise MemberChanged(path.name)
            length -= len(chunk)
            yield chunk


def _local_header(member: Member) -> bytes:
    size, name = member.size_bytes, member.name.encode()
    extra = pack("<HHQQ", 1, 16, size, size) if size >= _MAX_32 else b""
    short = min(size, _MAX_32)
    version = _ZIP64_VERSION if extra else _PLAIN_VERSION
    return (
        pack("<4sHHHHHIIIHH", b"PK\3\4", version, _UTF8_NAMES, 0, *_dos_time(member.modified),
             member.crc32, short, short, len(name), len(extra))
        + name
        + extra
    )  # fmt: skip


def _directory_entry(member: Member, offset: int) -> bytes:
    size, name = member.size_bytes, member.name.encode()
    # The ZIP64 extra field: only values that do not fit 32 bits, in this order.
    long = [value for value in (size, size, offset) if value >= _MAX_32]
    extra = pack(f"<HH{len(long)}Q", 1, 8 * len(long), *long) if long else b""
    version = _ZIP64_VERSION if extra else _PLAIN_VERSION
    short = min(size, _MAX_32)
    return (
        pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", _MADE_ON_UNIX | version, version, _UTF8_NAMES, 0,
             *_dos_time(member.modified), member.crc32, short, short, len(name), len(extra), 0, 0,
             0, _MODE, min(offset, _MAX_32))
        + name
        + extra
    )  # fmt: skip


def _end(count: int, size: int, start: int) -> bytes:
    zip64 = b""
    if count >= _MAX_16 or size >= _MAX_32 or start >= _MAX_32:
        zip64 = pack(
            "<4sQHHIIQQQQ", b"PK\6\6", 44, _MADE_ON_UNIX | _ZIP64_VERSION, _ZIP64_VERSION, 0, 0,
            count, count, size, start,
        )  # fmt: skip
        zip64 += pack("<4sIQI", b"PK\6\7", 0, start + size, 1)
    short = min(count, _MAX_16)
    end = pack(
        "<4sHHHHIIH", b"PK\5\6", 0, 0, short, short, min(size, _MAX_32), min(start, _MAX_32), 0
    )
    return zip64 + end


def _dos_time(moment: datetime) -> tuple[int, int]:
    """Return time and date in MS-DOS's form, which begins in 1980 and counts every other second."""
    clock = moment.hour << 11 | moment.minute << 5 | moment.second // 2
    return clock, max(moment.year - 1980, 0) << 9 | moment.month << 5 | moment.day
