"""Tells a container by its first bytes; the name of a file decides nothing."""

from pathlib import Path

from worker_server.media.errors import SourceError

_HEAD_BYTES = 1024
_EBML = b"\x1aE\xdf\xa3"
# First boxes of QuickTime and ISO base media files (ISO/IEC 14496-12; QuickTime File Format, "Atoms").
_MOV_BOXES = {b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}
_PICTURE_BRANDS = {b"avif", b"heic", b"heix", b"mif1", b"crx "}
_TS_PACKET_BYTES = 188
_M2TS_PACKET_BYTES = 192  # the same packet behind four bytes of time stamp


def sniff(path: Path) -> str:
    """Return ffmpeg's name of the demuxer: `mov`, `matroska`, `avi`, `mpegts` or `flv`.

    Raise SourceError `source_not_a_video` for anything else.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise SourceError("source_not_a_video", "The file is empty.")
    for demuxer, matches in _MATCHERS.items():
        if matches(head):
            return demuxer
    raise SourceError(
        "source_not_a_video",
        "The file is not a video: MP4, MOV, Matroska, WebM, AVI, MPEG-TS and FLV are accepted.",
    )


def _is_mov(head: bytes) -> bool:
    return head[4:8] in _MOV_BOXES and head[8:12] not in _PICTURE_BRANDS


def _is_mpegts(head: bytes) -> bool:
    return _has_sync_bytes(head, 0, _TS_PACKET_BYTES) or _has_sync_bytes(
        head, 4, _M2TS_PACKET_BYTES
    )


def _has_sync_bytes(head: bytes, first: int, step: int) -> bool:
    found = head[first::step]
    return len(found) > 2 and set(found) == {0x47}


_MATCHERS = {
    "mov": _is_mov,
    "matroska": lambda head: head.startswith(_EBML),
    "avi": lambda head: head.startswith(b"RIFF") and head[8:12] == b"AVI ",
    "flv": lambda head: head.startswith(b"FLV\x01"),
    "mpegts": _is_mpegts,
}
