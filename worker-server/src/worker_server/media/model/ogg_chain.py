"""Chained Ogg (RFC 3533, 4): whole files one after another, as joined and Icecast recordings are.

libavformat plays the first link alone and rejects the file at the second, so each link is opened
by itself.
"""

import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import av
from av.container import InputContainer
from av.stream import Stream

from worker_server.media.model.fragments import FilePart

_FIRST_PAGE = b"OggS\0\2"  # version 0; the flag of a stream's first page
_WINDOW_BYTES = 1 << 23
_HEADER_BYTES, _MAX_PAGE_BYTES = 27, 65_307
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Link(NamedTuple):
    """The byte offsets of a link: its first byte, and the byte after its last one."""

    begin: int
    end: int


class FirstLink(FilePart):
    """The first link of a chain as a file; `later` are the others."""

    def __init__(self, path: Path, links: list[Link]) -> None:
        super().__init__(path, *links[0])
        self.later = links[1:]


class ChainClock:
    """Maps the packets of later links to the first link's time bases and to continuing times."""

    def __init__(self, first: InputContainer) -> None:
        self._streams = list(first.streams)
        self._end_s = self._shift_s = Fraction(0)

    def has_stream(self, stream: Stream) -> bool:
        """Return whether the first link has such a stream in the same place, and both decoders."""
        if stream.index >= len(self._streams):
            return False
        first = self._streams[stream.index]
        # PyAV has no context where it has no decoder.
        has_decoders = first.codec_context is not None and stream.codec_context is not None
        return first.type == stream.type and has_decoders

    def begin_link(self, container: InputContainer) -> None:
        """Begin a link where the one before it ends, at a whole tick of the picture's clock."""
        starts_s = [
            (stream.start_time or 0) * Fraction(stream.time_base or 0)
            for stream in container.streams
            if stream.type in ("video", "audio")
        ]
        ticks_s = (each.time_base for each in self._streams if each.type == "video")
        tick_s = Fraction(next(ticks_s, None) or Fraction(1, av.time_base))
        # Opus begins before zero, with samples that are not played.
        self._shift_s = round(self._end_s / tick_s) * tick_s - max(0, min(starts_s, default=0))
        for stream in container.streams:
            if self.has_stream(stream):
                own = self._streams[stream.index].codec_context
                stream.codec_context.copy_opaque = own.copy_opaque

    def set(self, packet: "av.Packet[Any]") -> None:
        """Put a packet's stamps on the first link's clock."""
        own_s = Fraction(packet.time_base)
        tick_s = Fraction(self._streams[packet.stream.index].time_base or own_s)
        shift = round(self._shift_s / tick_s)
        if packet.pts is not None:
            packet.pts = round(packet.pts * own_s / tick_s) + shift
        if packet.dts is not None:
            packet.dts = round(packet.dts * own_s / tick_s) + shift
        packet.duration = round((packet.duration or 0) * own_s / tick_s)
        packet.time_base = tick_s

    def follow(self, packet: "av.Packet[Any]") -> None:
        """Note where the link ends so far."""
        if packet.pts is not None and packet.stream.type in ("video", "audio"):
            end = packet.pts + (packet.duration or 0)
            self._end_s = max(self._end_s, end * Fraction(packet.time_base))


def links_of(path: Path) -> list[Link]:
    """Return the links of an Ogg file; a plain one has a single link."""
    begins, previous_end = [], -1
    for begin, end in _first_pages(path):
        if begin != previous_end:  # else another stream of the same link
            begins.append(begin)
        previous_end = end
    ends = [*begins[1:], path.stat().st_size]
    return [Link(begin, end) for begin, end in zip(begins, ends, strict=True)] if begins else []


def _first_pages(path: Path) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each first page of a stream, in the order of the file."""
    with path.open("rb") as file:
        start = 0
        while len(window := _read(file, start, _WINDOW_BYTES)) >= len(_FIRST_PAGE):
            at = window.find(_FIRST_PAGE)
            while at >= 0:
                if size_bytes := _page_bytes(_read(file, start + at, _MAX_PAGE_BYTES)):
                    yield start + at, start + at + size_bytes
                at = window.find(_FIRST_PAGE, at + 1)
            start += len(window) - len(_FIRST_PAGE) + 1


def _read(file: BinaryIO, at: int, size_bytes: int) -> bytes:
    file.seek(at)
    return file.read(size_bytes)


def _page_bytes(data: bytes) -> int:
    """Return the length of the page that `data` begins with; 0 if its checksum is wrong."""
    if len(data) < _HEADER_BYTES:
        return 0
    table_end = _HEADER_BYTES + data[26]
    page = data[: table_end + sum(data[_HEADER_BYTES:table_end])]
    return len(page) if _checksum(page) == page[22:26] else 0


def _checksum(page: bytes) -> bytes:
    """Return the page's CRC_checksum, that of zlib with bits and start value reversed."""
    blank = page[:22] + bytes(4) + page[26:]
    reversed_crc = zlib.crc32(blank.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return reversed_crc.to_bytes(4).translate(_REVERSED_BITS)
