"""Reads sampling rate and channels from a sound packet's first bytes, as they may change."""

from collections.abc import Callable

HEAD_BYTES = 8
# Single channel, channel pair (ISO/IEC 14496-3, 4.4.2.1); other elements may precede them.
_AAC_ELEMENTS = (0, 1)
_MONO = 3


def sound_header_reader(codec: str) -> Callable[[bytes], tuple[int, ...] | None] | None:
    """Return a function from a packet's first HEAD_BYTES to its rate and channels, or None."""
    return _READERS.get(codec)


def _aac(header: bytes) -> tuple[int, ...] | None:
    if header[0] == 0xFF and header[1] & 0xF6 == 0xF0:  # ADTS: rate and channels
        return header[2] >> 2 & 15, (header[2] & 1) << 2 | header[3] >> 6
    element = header[0] >> 5
    return (element,) if element in _AAC_ELEMENTS else None


def _ac3(header: bytes) -> tuple[int, ...] | None:
    if header[:2] != b"\x0b\x77":
        return None
    if header[5] >> 3 > 10:  # E-AC-3 (ETSI TS 102 366, E.1.2)
        dependent = header[2] >> 6 == 1
        return None if dependent else (header[4] >> 6, header[4] >> 1 & 7)
    return header[4] >> 6, header[6] >> 5


def _mpeg(header: bytes) -> tuple[int, ...] | None:
    if header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    return header[1] >> 3 & 3, header[2] >> 2 & 3, int(header[3] >> 6 == _MONO)


def _flac(header: bytes) -> tuple[int, ...] | None:
    if header[:1] != b"\xff":
        return None
    channels = header[3] >> 4
    return header[2] & 15, channels if channels < 8 else 1


_READERS: dict[str, Callable[[bytes], tuple[int, ...] | None]] = {
    "aac": _aac,
    "ac3": _ac3,
    "eac3": _ac3,
    "mp2": _mpeg,
    "mp2float": _mpeg,
    "mp3": _mpeg,
    "mp3float": _mpeg,
    "flac": _flac,
}
