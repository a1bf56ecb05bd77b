"""Finds out whether a file ends before the end that its own container promises.

Only what the container wrote counts: where it wrote no length, libavformat estimates one from the
bit rate.
"""

import struct
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer

from worker_server.media.errors import SourceError
from worker_server.media.model.boxes import boxes
from worker_server.media.probing.ebml import header_elements, segment_end

# Tolerated difference to the declared duration: headers round, and streams end at different times.
_MISSING_S, _MISSING_SHARE = Fraction(1), Fraction(1, 50)
_HEAD_BYTES = 1 << 20
_INFO = 0x1549A966
_TIMESTAMP_SCALE, _DURATION = 0x2AD7B1, 0x4489
# Advanced Systems Format, 3.2: file properties object.
_ASF_PROPERTIES = bytes.fromhex("A1DCAB8C47A9CF118EE400C00C205365")
_ASF_BROADCAST = 1
# The key in onMetaData, and the type marker of a number after it (AMF 0, 2.2).
_FLV_FILE_SIZE = b"filesize\0"


def check_complete(container: InputContainer, path: Path, demuxer: str, end_s: Fraction) -> None:
    """Raise SourceError for a file that was cut off; `end_s` is when the last packet found ends.

    Recorders write fragments so that a file stays usable wherever they stop, so the last of several
    fragments may be cut off.
    """
    in_fragments = demuxer == "mov" and _has_fragments(path)
    if demuxer == "mov" and not in_fragments and _lacks_samples(container, path.stat().st_size):
        raise SourceError(
            "source_damaged", "The video is cut off: frames of its index are missing."
        )
    declared_s = declared_duration_s(container, path, demuxer)
    if in_fragments and declared_s and declared_s - _indexed_s(container) < _MISSING_S:
        return  # libavformat added up the fragments it found, so this duration promises no more
    # If all bytes are present, the declared duration is what is wrong.
    is_short = declared_s and declared_s - end_s > max(_MISSING_S, declared_s * _MISSING_SHARE)
    if is_short and not _has_all_bytes(path, demuxer):
        raise SourceError("source_damaged", "The video is cut off before the end its header gives.")


def lacks_index(path: Path, demuxer: str) -> bool:
    """Return whether an MP4 ends before the end of its index (`moov`), or has none.

    Cameras and phones write the index last: a recording that was interrupted has none.
    """
    if demuxer != "mov":
        return False
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        for _, (begin, _) in boxes(file, (0, size_bytes), b"moov"):
            file.seek(begin - 8)
            return begin - 8 + int.from_bytes(file.read(4)) > size_bytes
    return True


def declared_duration_s(container: InputContainer, path: Path, demuxer: str) -> Fraction | None:
    """Return the length that the container wrote down; None where it wrote none."""
    if demuxer == "matroska":
        return _matroska_duration_s(path)
    if demuxer == "asf":
        with path.open("rb") as file:
            return _asf_duration_s(file.read(_HEAD_BYTES))
    if demuxer == "avi" and container.streams.video:
        # `container.duration` is what libavformat found where the index is missing.
        video = container.streams.video[0]
        return video.frames * Fraction(video.time_base or 0) or None
    if demuxer in ("mov", "flv") and container.duration:
        return Fraction(container.duration, av.time_base)
    return None


def _has_fragments(path: Path) -> bool:
    """Return whether an MP4 has more than one fragment."""
    with path.open("rb") as file:
        return len(list(islice(boxes(file, (0, path.stat().st_size), b"moof"), 2))) > 1


def _indexed_s(container: InputContainer) -> Fraction:
    """Return when the last sample of the index begins."""
    streams = (*container.streams.video, *container.streams.audio)
    lasts = (
        stream.index_entries[-1].timestamp * (stream.time_base or Fraction(1))
        for stream in streams
        if len(stream.index_entries)
    )
    return max(lasts, default=Fraction(0))


def _lacks_samples(container: InputContainer, size_bytes: int) -> bool:
    """Return whether the index places samples beyond the end of the file.

    Offsets are compared, not counts: libavformat's index has only the samples that an edit list
    shows, which may be far fewer than are stored.
    """
    for stream in (*container.streams.video, *container.streams.audio):
        entries = stream.index_entries
        count = len(entries)
        allowed = int(count * _MISSING_SHARE) + 1
        # Samples are stored in order of time, so the last ones are those that are missing.
        last = [entries[index] for index in range(max(0, count - allowed - 1), count)]
        missing = [entry for entry in last if entry.pos + entry.size > size_bytes]
        if len(missing) > allowed or (missing and count <= 1):
            return True
    return False


def _has_all_bytes(path: Path, demuxer: str) -> bool:
    """Return whether the file has all bytes that its container announces."""
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        first_bytes = file.read(_HEAD_BYTES)
        announced = (
            _riff_end(file, size_bytes) if demuxer == "avi" else _announced(first_bytes, demuxer)
        )
    return announced is not None and 0 < announced <= size_bytes


def _announced(first_bytes: bytes, demuxer: str) -> int | None:
    """Return how many bytes the container says that it has."""
    if demuxer == "matroska":
        return segment_end(first_bytes)
    if demuxer == "asf" and (at := first_bytes.find(_ASF_PROPERTIES)) >= 0:
        return int.from_bytes(first_bytes[at + 40 : at + 48], "little")
    if demuxer == "flv" and (at := first_bytes.find(_FLV_FILE_SIZE)) >= 0:
        value = first_bytes[at + len(_FLV_FILE_SIZE) :][:8]
        (size,) = struct.unpack(">d", value) if len(value) == 8 else (0.0,)
        return int(size) if 0 < size < 1e15 else None
    return None


def _riff_end(file: BinaryIO, size_bytes: int) -> int | None:
    """Return where the last RIFF chunk ends (a large AVI has several).

    One without a size ends with the file: a recorder writes it, and the true length, at its end.
    """
    end, at = None, 0
    while at + 8 <= size_bytes:
        file.seek(at)
        kind, length = struct.unpack("<4sI", file.read(8))
        if kind != b"RIFF":
            break
        if not length:
            return size_bytes
        end = at + 8 + length
        at = end + length % 2
    return end


def _matroska_duration_s(path: Path) -> Fraction | None:
    """Return Duration of the segment's Info (RFC 9559, 5.1.2)."""
    scale, duration = 1_000_000, None
    for element, content in header_elements(path, _INFO):
        if element == _TIMESTAMP_SCALE:
            scale = int.from_bytes(content)
        if element == _DURATION and len(content) in (4, 8):
            (duration,) = struct.unpack(">f" if len(content) == 4 else ">d", content)
    if duration is None or not 0 < duration < 1e15:
        return None
    return Fraction(duration) * scale / 10**9


def _asf_duration_s(first_bytes: bytes) -> Fraction | None:
    at = first_bytes.find(_ASF_PROPERTIES)
    if at < 0 or len(first_bytes) < at + 92:
        return None
    play, _, preroll_ms, flags = struct.unpack_from("<QQQI", first_bytes, at + 64)
    if flags & _ASF_BROADCAST or not play:
        return None
    return max(Fraction(0), Fraction(play, 10**7) - Fraction(preroll_ms, 1000))
