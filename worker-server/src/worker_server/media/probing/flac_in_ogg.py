"""Finds when FLAC in Ogg begins: libavformat lets it begin at zero, whatever its pages say.

A page's granule position is the sample at which its last packet ends (RFC 3533, 6). Where ffmpeg
copied from the middle of a file, packets before the wanted time are there too, with positions below
zero.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

_HEADER = struct.Struct("<4sBBqIIIB")
_WHOLE = 255  # a shorter segment ends its packet
_FIRST_PACKET = b"\x7fFLAC"
_HEADER_COUNT = slice(7, 9)  # in the first packet: how many header packets follow (0: unknown)
_MAX_PAGES = 1000  # of all streams, until the first with sound


class _Page(NamedTuple):
    granule: int
    serial: int
    packets: int  # that end on it
    head: bytes


def flac_start(path: Path, durations: Sequence[int]) -> int:
    """Return the sample at which the sound begins, 0 where that is unknown or not below zero.

    `durations` are those of its packets. Of several streams of FLAC the first one counts.
    """
    serial, headers = None, 0
    for page in _pages(path):
        if serial is None and page.head.startswith(_FIRST_PACKET):
            serial, headers = page.serial, int.from_bytes(page.head[_HEADER_COUNT])
            if not headers:
                return 0
        elif page.serial == serial and headers > 0:
            headers -= page.packets
        elif page.serial == serial and page.packets:
            return min(0, page.granule - sum(durations[: page.packets]))
    return 0


def _pages(path: Path) -> Iterator[_Page]:
    with path.open("rb") as file:
        for _ in range(_MAX_PAGES):
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size or not header.startswith(b"OggS"):
                return
            _, _, _, granule, serial, _, _, count = _HEADER.unpack(header)
            segments = file.read(count)
            body = file.read(sum(segments))
            packets = sum(size < _WHOLE for size in segments)
            yield _Page(granule, serial, packets, body[: _HEADER_COUNT.stop])
