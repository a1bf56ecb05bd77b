"""Finds sources that are encrypted, also where encryption begins only after a clear start."""

from collections.abc import Set
from pathlib import Path
from typing import BinaryIO

from av import VideoStream
from av.container import InputContainer

from worker_server.media.errors import SourceError
from worker_server.media.model.boxes import boxes, spans_at
from worker_server.media.model.transport_stream import (
    TS_PACKET_BYTES,
    TS_SYNC,
    packet_grid,
    pids_of_other_programs,
)

_TS_WINDOWS, _TS_WINDOW_BYTES = 64, 188 * 500
# Boxes with the initialization vectors of a fragment's samples, or with their sizes (ISO/IEC
# 23001-7, 7).
_ENCRYPTION_BOXES = (b"senc", b"saiz")
# The same in Smooth Streaming (Protected Interoperable File Format 1.1, 5.3.2).
_PIFF_SAMPLE_ENCRYPTION = bytes.fromhex("A2394F525A9B4F14A2446C427C648DF4")
# Sample entries of encrypted tracks (ISO/IEC 14496-12, 8.12), and those of FairPlay.
_ENCRYPTED_ENTRIES = (b"encv", b"enca", b"drmi", b"drms")
# Advanced Systems Format, 3.14 to 3.16: content encryption, extended and advanced.
_ASF_ENCRYPTION = (
    bytes.fromhex("FBB3112223BDD211B4B700A0C955FC6E"),
    bytes.fromhex("14E68A292226174CB935DAE07EE9289C"),
    bytes.fromhex("338505438169E6499B74AD12CB86D58C"),
)
_ASF_HEADER_BYTES, _MAX_HEADER_BYTES = 30, 1 << 20


def check_protection(
    container: InputContainer, path: Path, demuxer: str, video: VideoStream
) -> None:
    """Raise SourceError if anything is encrypted, even only after a clear beginning.

    Of several television programs only that of the picture counts.
    """
    has_key_id = any(stream.metadata.get("enc_key_id") for stream in container.streams)
    others = pids_of_other_programs(path, video.id) if demuxer == "mpegts" else frozenset()
    if has_key_id or is_encrypted(path, demuxer, others):
        raise SourceError("source_protected", "The video is encrypted.")


def is_encrypted(path: Path, demuxer: str, ignored_pids: Set[int] = frozenset()) -> bool:
    """Return whether the file's own bytes say so, also those of a file that cannot be opened."""
    return (
        (demuxer == "mpegts" and _is_scrambled(path, ignored_pids))
        or (demuxer == "mov" and (_has_encrypted_track(path) or _has_encrypted_fragment(path)))
        or (demuxer == "asf" and _has_encryption_object(path))
    )


def _is_scrambled(path: Path, ignored_pids: Set[int]) -> bool:
    """Return whether many packets of an MPEG-TS are scrambled (ISO/IEC 13818-1, 2.4.3.3)."""
    size = path.stat().st_size
    step = max(_TS_WINDOW_BYTES, size // _TS_WINDOWS)
    scrambled = seen = 0
    with path.open("rb") as file:
        for start in range(0, size, step):
            file.seek(start)
            window = file.read(_TS_WINDOW_BYTES)
            at, length = packet_grid(window) or (len(window), TS_PACKET_BYTES)
            heads = (window[each : each + 4] for each in range(at, len(window) - 3, length))
            packets = [
                head[3]
                for head in heads
                if head[0] == TS_SYNC and int.from_bytes(head[1:3]) & 0x1FFF not in ignored_pids
            ]
            seen += len(packets)
            scrambled += sum(byte >> 6 in (2, 3) for byte in packets)
    return scrambled * 10 > seen


def _has_encrypted_fragment(path: Path) -> bool:
    """Return whether a fragment of an MP4 says that its samples are encrypted.

    The file's `moov` may not say so: where files were joined, it is that of the clear first one.
    """
    with path.open("rb") as file:
        return any(
            kind in _ENCRYPTION_BOXES or (kind == b"uuid" and _is_piff_encryption(file, span[0]))
            for fragment in boxes(file, (0, path.stat().st_size), b"moof")
            for track in boxes(file, fragment[1], b"traf")
            for kind, span in boxes(file, track[1])
        )


def _is_piff_encryption(file: BinaryIO, at: int) -> bool:
    file.seek(at)
    return file.read(16) == _PIFF_SAMPLE_ENCRYPTION


def _has_encrypted_track(path: Path) -> bool:
    """Return whether any sample entry of any track of an MP4 is encrypted, not only the first."""
    with path.open("rb") as file:
        whole = (0, path.stat().st_size)
        spans = spans_at(file, whole, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
        entries = ((begin + 8, end) for begin, end in spans)
        return any(kind in _ENCRYPTED_ENTRIES for span in entries for kind, _ in boxes(file, span))


def _has_encryption_object(path: Path) -> bool:
    """Return whether the header of an ASF file says by which licence its content is decrypted."""
    with path.open("rb") as file:
        header = file.read(_MAX_HEADER_BYTES)
    at, end = _ASF_HEADER_BYTES, int.from_bytes(header[16:24], "little")
    while at + 24 <= min(end, len(header)):
        if header[at : at + 16] in _ASF_ENCRYPTION:
            return True
        at += max(24, int.from_bytes(header[at + 16 : at + 24], "little"))
    return False
