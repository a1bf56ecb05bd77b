"""Finds by how much libavformat shifts the times of the pictures of fragmented MP4.

Where composition offsets are negative (ISO/IEC 14496-12, 8.8.8), libavformat adds the largest of
them to all times of the track. Of an index (`moov`) it takes it off again, of fragments not.
"""

import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from statistics import median_low
from typing import BinaryIO, NamedTuple

from worker_server.media.model.boxes import Span, spans_at

_DATA_OFFSET, _FIRST_FLAGS = 0x1, 0x4
_ENTRY_FIELDS, _COMPOSITION = (0x100, 0x200, 0x400, 0x800), 0x800
_MAX_RUN_BYTES = 1 << 24  # of one `trun`: a million pictures


class CompositionShift(NamedTuple):
    """By how many ticks pictures are shown too late: those from byte `begin` of the file on."""

    ticks: int
    begin: int


def composition_shift(path: Path, track: int) -> CompositionShift:
    """Return the shift of the pictures of a track (`track_ID`); 0 without fragments.

    What libavformat adds grows where a later fragment has a larger offset; most fragments decide.
    """
    status = path.stat()
    return _composition_shift(path, track, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)  # each pass of a probe over the packets calls it, and a long video has many
def _composition_shift(
    path: Path, track: int, size_bytes: int, _changed_ns: int
) -> CompositionShift:
    latest, begin, by_fragment = 0, 0, []
    with path.open("rb") as file:
        for fragment in spans_at(file, (0, size_bytes), b"moof", b"traf"):
            begin = begin or fragment[0]
            if track == _track_of(file, fragment):
                latest = max(latest, -min(_offsets(file, fragment), default=0))
                by_fragment.append(latest)
    return CompositionShift(median_low(by_fragment) if by_fragment else 0, begin)


def _track_of(file: BinaryIO, fragment: Span) -> int:
    for begin, _ in spans_at(file, fragment, b"tfhd"):
        file.seek(begin + 4)
        return int.from_bytes(file.read(4))
    return 0


def _offsets(file: BinaryIO, fragment: Span) -> Iterator[int]:
    """Yield the composition offsets of a fragment, in ticks."""
    for begin, end in spans_at(file, fragment, b"trun"):
        file.seek(begin)
        content = file.read(min(end - begin, _MAX_RUN_BYTES))
        flags = int.from_bytes(content[1:4])
        if flags & _COMPOSITION:
            entry = 4 * sum(bool(flags & field) for field in _ENTRY_FIELDS)
            at = 8 + 4 * bool(flags & _DATA_OFFSET) + 4 * bool(flags & _FIRST_FLAGS)
            entries = content[at : len(content) - (len(content) - at) % entry]
            yield from (offset for (offset,) in struct.iter_unpack(f">{entry - 4}xi", entries))
