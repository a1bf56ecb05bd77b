"""Recognizes a container by its first bytes; the name of the file does not matter."""

import re
from pathlib import Path
from typing import BinaryIO

from worker_server.media.errors import SourceError
from worker_server.media.model.transport_stream import packet_grid

# Enough for every format but a transport stream that starts inside a packet.
_FIRST_BYTES, _HEAD_BYTES = 1024, 64 * 1024
_EBML = b"\x1aE\xdf\xa3"
# First boxes of QuickTime and ISO base media files (ISO/IEC 14496-12; QuickTime File Format,
# "Atoms").
_MOV_BOXES = {b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}
_MOV_BOXES |= {b"moof", b"sidx", b"uuid", b"emsg", b"prft", b"ssix", b"junk", b"pict", b"PICT"}
_PNG = b"\x89PNG\r\n\x1a\n"
# Start of a JPEG directly after the end of another; photos with a preview have one such pair.
_JPEG, _NEXT_JPEG = b"\xff\xd8\xff", b"\xff\xd9\xff\xd8\xff"
_JPEG_BYTES, _MIN_FURTHER_JPEGS = 8 * 1024 * 1024, 2
_PICTURE_BRANDS = {b"avif", b"heic", b"heix", b"mif1", b"crx "}
# Streams of packets, which demuxers look for, may have reserved space in front.
_PACKETED, _MAX_PADDING_BYTES = {"mpegts", "mpeg"}, 16 * 1024 * 1024
_ASF = bytes.fromhex("3026B2758E66CF11A6D900AA0062CE6C")
_PACK = b"\x00\x00\x01\xba"
_PACKS = re.compile(
    _PACK + rb"(?:[\x44-\x47\x4c-\x4f\x54-\x57\x5c-\x5f\x64-\x67\x6c-\x6f\x74-\x77\x7c-\x7f]"
    rb"|[\x21\x23\x25\x27\x29\x2b\x2d\x2f])"
)
_MIN_PACKS = 4
_ACCEPTED = (
    "MP4, MOV, Matroska, WebM, AVI, MPEG-TS, MPEG-PS, FLV, WMV, Ogg, GIF and APNG are accepted."
)
# What may come before the first tag of HTML: one of these is matched at a time, as a repeated group
# of them could match the same bytes in exponentially many ways.
_BEFORE_HTML = re.compile(rb"\xef\xbb\xbf|\s+|<\?xml[^>]{0,200}\?>|<!--.*?-->", re.DOTALL)
# The tags of the WHATWG's MIME Sniffing Standard, 7.1, and further ones that pages begin with.
_HTML = re.compile(
    rb"<(!doctype\s+html|html|head|body|title|script|style|meta|link|base|iframe|noscript|div|table"
    rb"|font|center|form|h[1-6]|br|p|a|b)\b",
    re.IGNORECASE,
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
    b"BIKi": "Bink",
    b"BIKf": "Bink",
    b"SMK2": "Smacker",
    b"FWS": "Flash (SWF)",
    b"CWS": "Flash (SWF)",
    b"ZWS": "Flash (SWF)",
    b"NSVf": "NSV",
    b"NSVs": "NSV",
    b"\x00\x00\x00\x00\x01\xbc": "GXF",
    b"\x8aMNG": "MNG",
    b"DHAV": "DAV",  # of Dahua's surveillance recorders
    b"DAHUA": "DAV",
    b"\x12\x00\x0a": "an AV1 stream without a container",
}
_PLAYLIST = "a playlist, which only lists videos"
_OTHER_TEXTS = {
    b"#EXTM3U": _PLAYLIST,  # HLS too
    b"<MPD": _PLAYLIST,  # DASH
    b"[playlist]": _PLAYLIST,
    b"{": "JSON, as services answer with",
}
_OTHER_FILES = {
    b"PK\x03\x04": "a ZIP archive, which has to be unpacked",
    b"Rar!\x1a\x07": "a RAR archive, which has to be unpacked",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive, which has to be unpacked",
    b"\x1f\x8b": "a gzip archive, which has to be unpacked",
    b"%PDF-": "a PDF document",
    _PNG: "a picture",
    _JPEG: "a picture",
    b"ID3": "sound alone",
    b"fLaC": "sound alone",
    b"\xff\xfb": "sound alone",  # MP3 without tags
    b"\xff\xf1": "sound alone",  # AAC
}
# What streams without a container begin with after a start code: sequence headers (MPEG-2, H.262
# 6.2.2.1; MPEG-4, 14496-2 6.2.2; VC-1, SMPTE 421M E.5) and units that may come before a picture:
# parameter sets, delimiters and SEI (H.264 7.4.1, H.265 7.4.2, H.266 7.4.2.2).
_START_CODE = rb"\x00{2,16}\x01"
_STREAMS = {
    rb"\xb3": "an MPEG video",
    rb"[\xb0\xb5]|[\x00-\x1f]\x00\x00\x01[\x20-\x2f]": "an MPEG-4",
    rb"\x0f": "a VC-1",
    rb"[\x40\x42\x44\x46\x4e][\x01-\x07]": "an HEVC",
    rb"\x00[\x61\x69\x71\x79\x81\x89\xa1\xb9]": "a VVC",
    rb"[\x06\x09\x27\x47\x67]": "an H.264",
}
_STREAM_STARTS = [
    (re.compile(_START_CODE + b"(?:" + unit + b")", re.DOTALL), name)
    for unit, name in _STREAMS.items()
]


def sniff(path: Path) -> str:
    """Return ffmpeg's name of the demuxer of an accepted container.

    Raise SourceError: `source_is_a_web_page`, `source_format_unsupported` for videos of other
    kinds, `source_not_a_video` for anything else.
    """
    with path.open("rb") as file:
        first_bytes = file.read(_FIRST_BYTES)
        if not first_bytes:
            raise SourceError("source_not_a_video", "The file is empty.")
        if demuxer := _accepted(first_bytes):
            return demuxer
        first_bytes += file.read(_HEAD_BYTES - _FIRST_BYTES)
        if demuxer := _accepted(first_bytes) or _after_padding(file, first_bytes):
            return demuxer
        if first_bytes.startswith(_JPEG):
            first_bytes += file.read(_JPEG_BYTES)
    raise _refusal(first_bytes)


def _accepted(first_bytes: bytes) -> str | None:
    return next((demuxer for demuxer, matches in _MATCHERS.items() if matches(first_bytes)), None)


def _after_padding(file: BinaryIO, first_bytes: bytes) -> str | None:
    """Return the demuxer of a stream of packets after reserved space, which is all one byte."""
    byte, left = first_bytes[:1], _MAX_PADDING_BYTES
    window = first_bytes
    while left > 0 and window and not window.strip(byte):
        window = file.read(_HEAD_BYTES)
        left -= len(window)
    if window is first_bytes or not window:
        return None
    window = window.lstrip(byte) + file.read(_HEAD_BYTES)
    demuxer = _accepted(window)
    return demuxer if demuxer in _PACKETED else None


def _refusal(first_bytes: bytes) -> SourceError:
    if _is_web_page(first_bytes):
        return SourceError(
            "source_is_a_web_page",
            "The address leads to a web page. Give the address of the video file itself.",
        )
    if name := _unsupported(first_bytes):
        return SourceError(
            "source_format_unsupported", f"The format is not supported: {name}. {_ACCEPTED}"
        )
    what = _other_kind(first_bytes)
    but = f" but {what}." if what else ":"
    return SourceError("source_not_a_video", f"The file is not a video{but} {_ACCEPTED}")


def _is_web_page(first_bytes: bytes) -> bool:
    return _HTML.match(first_bytes, _start_of_text(first_bytes)) is not None


def _start_of_text(first_bytes: bytes) -> int:
    """Return where text begins, after white space, an XML declaration and comments."""
    at = 0
    while skipped := _BEFORE_HTML.match(first_bytes, at):
        at = skipped.end()
    return at


def _other_kind(first_bytes: bytes) -> str | None:
    """Return the kind of a file that is often mistaken for a video; None for any other file."""
    text = first_bytes[_start_of_text(first_bytes) :][:_FIRST_BYTES]
    starts = (name for start, name in _OTHER_TEXTS.items() if text.startswith(start))
    if name := next(starts, None):
        return name
    if first_bytes[4:8] == b"ftyp" and first_bytes[8:12] in _PICTURE_BRANDS:
        return "a picture"
    if first_bytes.startswith(b"RIFF"):
        return {b"WEBP": "a picture", b"WAVE": "sound alone"}.get(first_bytes[8:12])
    return next(
        (name for start, name in _OTHER_FILES.items() if first_bytes.startswith(start)), None
    )


def _unsupported(first_bytes: bytes) -> str | None:
    """Return the name of the video format that is not accepted; None for no video."""
    for start, name in _KNOWN_STARTS.items():
        if first_bytes.startswith(start):
            return name
    for unit, name in _STREAM_STARTS:
        if unit.match(first_bytes):
            return f"{name} stream without a container"
    is_parted = (
        first_bytes.startswith((b"--", b"\r\n--")) and b"image/jpeg" in first_bytes[:_FIRST_BYTES]
    )
    is_jpegs = first_bytes.startswith(_JPEG) and first_bytes.count(_NEXT_JPEG) >= _MIN_FURTHER_JPEGS
    if is_parted or is_jpegs:
        return "an MJPEG stream without a container"
    is_webp = first_bytes.startswith(b"RIFF") and first_bytes[8:12] == b"WEBP"
    return "WebP" if is_webp and b"ANIM" in first_bytes[:64] else None


def _is_mov(first_bytes: bytes) -> bool:
    return first_bytes[4:8] in _MOV_BOXES and first_bytes[8:12] not in _PICTURE_BRANDS


def _is_mpegts(first_bytes: bytes) -> bool:
    return packet_grid(first_bytes) is not None


def _is_mpegps(first_bytes: bytes) -> bool:
    """Return whether a pack starts the file, or several follow, as in cut recordings and Video CDs.

    The marker bits of a pack's clock are checked (ISO/IEC 13818-1, 2.5.3.3; 11172-1, 2.4.3.2).
    """
    return first_bytes.startswith(_PACK) or len(_PACKS.findall(first_bytes)) >= _MIN_PACKS


def _is_ogg(first_bytes: bytes) -> bool:
    return first_bytes.startswith(b"OggS\x00")


def _is_apng(first_bytes: bytes) -> bool:
    """Return whether a PNG has several pictures: then `acTL` is before the first one's data."""
    if not first_bytes.startswith(_PNG):
        return False
    at = len(_PNG)
    while at + 12 <= len(first_bytes):
        size_bytes, kind = int.from_bytes(first_bytes[at : at + 4]), first_bytes[at + 4 : at + 8]
        if kind == b"acTL":
            return int.from_bytes(first_bytes[at + 8 : at + 12]) > 1
        if kind == b"IDAT":
            return False
        at += 12 + size_bytes
    return False


_MATCHERS = {
    "mov": _is_mov,
    "matroska": lambda first_bytes: first_bytes.startswith(_EBML),
    "avi": lambda first_bytes: first_bytes.startswith(b"RIFF") and first_bytes[8:12] == b"AVI ",
    "flv": lambda first_bytes: first_bytes.startswith(b"FLV\x01"),
    "asf": lambda first_bytes: first_bytes.startswith(_ASF),
    "mpeg": _is_mpegps,
    "ogg": _is_ogg,
    "gif": lambda first_bytes: first_bytes.startswith((b"GIF87a", b"GIF89a")),
    "apng": _is_apng,
    "mpegts": _is_mpegts,
}
