"""Tells a container by its first bytes; the name of a file decides nothing."""

import re
from pathlib import Path

from worker_server.media.errors import SourceError

# Enough for all but a transport stream that begins in the middle of a packet.
_FIRST_BYTES, _HEAD_BYTES = 1024, 64 * 1024
_EBML = b"\x1aE\xdf\xa3"
# First boxes of QuickTime and ISO base media files (ISO/IEC 14496-12; QuickTime File Format,
# "Atoms").
_MOV_BOXES = {b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}
_MOV_BOXES |= {b"moof", b"sidx", b"uuid"}
_PICTURE_BRANDS = {b"avif", b"heic", b"heix", b"mif1", b"crx "}
TS_PACKET_BYTES = 188
# The same packet behind four bytes of time stamp (M2TS), and before 16 bytes of error correction
# (DVB).
_TS_STEPS = (TS_PACKET_BYTES, 192, 204)
_TS_SYNC, _TS_PACKETS = 0x47, 20
_ASF = bytes.fromhex("3026B2758E66CF11A6D900AA0062CE6C")
_ACCEPTED = "MP4, MOV, Matroska, WebM, AVI, MPEG-TS, MPEG-PS, FLV, WMV, Ogg and GIF are accepted."
_WEB_PAGE = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]{0,200}\?>\s*)?(<!--.{0,4000}?-->\s*)*"
    rb"<(!doctype\s+html|html|head|body|title|script|meta|iframe|div|p|a)\b",
    re.IGNORECASE | re.DOTALL,
)
# Formats that ffmpeg reads and that are not accepted.
_KNOWN_STARTS = {
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01": "MXF",
    b"\x1f\x07\x00": "DV",
    b".RMF": "RealMedia",
    b"DKIF": "IVF",
    b"YUV4MPEG2": "Y4M",
    b"nut/multimedia container": "NUT",
    b"\xb7\xd8\x00\x20\x37\x49\xda\x11": "WTV",
    b"\x00\x00\x01\xb3": "an MPEG video stream without a container",
    b"\x00\x00\x00\x01\x67": "an H.264 stream without a container",
    b"\x00\x00\x00\x01\x09": "an H.264 stream without a container",
    b"\x00\x00\x01\x67": "an H.264 stream without a container",
    b"\x00\x00\x00\x01\x40\x01": "an HEVC stream without a container",
    b"\x00\x00\x01\xb0": "an MPEG-4 stream without a container",
    b"BIKi": "Bink",
    b"BIKf": "Bink",
    b"SMK2": "Smacker",
    b"FWS": "Flash (SWF)",
    b"CWS": "Flash (SWF)",
    b"\x8aMNG": "MNG",
}


def sniff(path: Path) -> str:
    """Return ffmpeg's name of the demuxer of an accepted container.

    Raise SourceError: `source_is_a_web_page`, `source_format_unsupported` for videos of other
    kinds, `source_not_a_video` for anything else.
    """
    with path.open("rb") as file:
        head = file.read(_FIRST_BYTES)
        if not head:
            raise SourceError("source_not_a_video", "The file is empty.")
        if demuxer := _accepted(head):
            return demuxer
        head += file.read(_HEAD_BYTES - _FIRST_BYTES)
    if demuxer := _accepted(head):
        return demuxer
    raise _refusal(head)


def _accepted(head: bytes) -> str | None:
    return next((demuxer for demuxer, matches in _MATCHERS.items() if matches(head)), None)


def packet_grid(data: bytes) -> tuple[int, int] | None:
    """Return where a transport stream's packets begin, and their length; None without any.

    A recording may begin in the middle of a packet, or with a few bytes of something else.
    """
    at = data.find(_TS_SYNC)
    while at >= 0:
        for step in _TS_STEPS:
            sync_bytes = data[at : at + _TS_PACKETS * step : step]
            if len(sync_bytes) >= min(_TS_PACKETS, 3 + at) and set(sync_bytes) == {_TS_SYNC}:
                return at, step
        at = data.find(_TS_SYNC, at + 1)
    return None


def _refusal(head: bytes) -> SourceError:
    if _WEB_PAGE.match(head):
        return SourceError(
            "source_is_a_web_page",
            "The address leads to a web page. Give the address of the video file itself.",
        )
    for start, name in _KNOWN_STARTS.items():
        if head.startswith(start):
            return SourceError(
                "source_format_unsupported", f"The format is not supported: {name}. {_ACCEPTED}"
            )
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP" and b"ANIM" in head[:64]:
        return SourceError(
            "source_format_unsupported", f"The format is not supported: WebP. {_ACCEPTED}"
        )
    return SourceError("source_not_a_video", f"The file is not a video: {_ACCEPTED}")


def _is_mov(head: bytes) -> bool:
    return head[4:8] in _MOV_BOXES and head[8:12] not in _PICTURE_BRANDS


def _is_mpegts(head: bytes) -> bool:
    return packet_grid(head) is not None


def _is_ogg(head: bytes) -> bool:
    return head.startswith(b"OggS\x00")


_MATCHERS = {
    "mov": _is_mov,
    "matroska": lambda head: head.startswith(_EBML),
    "avi": lambda head: head.startswith(b"RIFF") and head[8:12] == b"AVI ",
    "flv": lambda head: head.startswith(b"FLV\x01"),
    "asf": lambda head: head.startswith(_ASF),
    "mpeg": lambda head: head.startswith(b"\x00\x00\x01\xba"),
    "ogg": _is_ogg,
    "gif": lambda head: head.startswith((b"GIF87a", b"GIF89a")),
    "mpegts": _is_mpegts,
}
