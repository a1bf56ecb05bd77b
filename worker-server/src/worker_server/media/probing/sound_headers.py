"""Reads sampling rate and channels from a sound packet's first bytes, as they may change."""

from collections.abc import Callable

from worker_server.media.probing.bits import Bits

HEAD_BYTES = 12
# Single channel, channel pair (ISO/IEC 14496-3, 4.4.2.1); other elements may precede them.
_AAC_ELEMENTS = (0, 1)
_MONO = 3
_SURROUND, _STEREO = 4, 2  # of AC-3's acmod: a bit, and a value
_ALTERNATE_AC3 = 6  # bsid of AC-3 with further levels of a mix (ETSI TS 102 366, annex D)


def sound_header_reader(codec: str) -> Callable[[bytes], tuple[int, ...] | None] | None:
    """Return a function from a packet's first HEAD_BYTES to its rate and channels, or None."""
    return _READERS.get(codec)


def _aac(header: bytes) -> tuple[int, ...] | None:
    if header[0] == 0xFF and header[1] & 0xF6 == 0xF0:  # ADTS: rate and channels
        return header[2] >> 2 & 15, (header[2] & 1) << 2 | header[3] >> 6
    element = header[0] >> 5
    return (element,) if element in _AAC_ELEMENTS else None


def _ac3(header: bytes) -> tuple[int, ...] | None:
    """Return rate, channels, whether they have bass, and the levels of a mix to stereo."""
    if header[:2] != b"\x0b\x77":
        return None
    version = header[5] >> 3
    if version > 10:  # E-AC-3 (ETSI TS 102 366, E.1.2)
        dependent = header[2] >> 6 == 1
        return None if dependent else _eac3(Bits(header[4:]))
    bits, rate, levels = Bits(header[6:]), header[4] >> 6, []
    mode = bits.read(3)
    if mode & 1 and mode > 1:
        levels.append(bits.read(2))
    if mode & _SURROUND:
        levels.append(bits.read(2))
    bits.read(2 * (mode == _STEREO))
    bass = bits.read(1)
    if version == _ALTERNATE_AC3 and mode:
        bits.read(5)
        for length in (8, 8, 7):  # compression, language, production
            bits.read(length * bits.read(1))
        bits.read(2)
        levels.append(bits.read(14 * bits.read(1)))
    return rate, mode, bass, *levels


def _eac3(bits: Bits) -> tuple[int, ...]:
    rate, _, mode, bass = (bits.read(length) for length in (2, 2, 3, 1))
    bits.read(10)
    bits.read(8 * bits.read(1))  # compression
    if not mode or not bits.read(1):
        return rate, mode, bass, 0, 0, 0
    preferred = bits.read(2 * (mode > _STEREO))
    has_centre, has_surround = mode & 1 and mode > _STEREO, mode & _SURROUND
    levels = bits.read(6 * (bool(has_centre) + bool(has_surround)))
    return rate, mode, bass, preferred, levels, bits.read(5 * bits.read(1)) if bass else 0


def _latm(header: bytes) -> tuple[int, ...] | None:
    """Return the beginning of the AudioSpecificConfig (ISO/IEC 14496-3, 1.7.3), if it is there."""
    repeats_or_is_version_1 = header[3] & 0xC0
    if header[0] != 0x56 or header[1] & 0xE0 != 0xE0 or repeats_or_is_version_1:
        return None
    return header[5], header[6] >> 3


def _dts(header: bytes) -> tuple[int, ...] | None:
    """Return AMODE, SFREQ and LFF of the core (ETSI TS 102 114, 5.3.1)."""
    if header[:4] != b"\x7f\xfe\x80\x01":
        return None
    return header[7] & 15, header[8] >> 2, header[10] >> 1 & 3


def _truehd(header: bytes) -> tuple[int, ...] | None:
    """Return the rate and the channels of a major sync."""
    if header[4:8] != b"\xf8\x72\x6f\xba":
        return None
    return header[8] >> 4, header[9] & 15, header[10] & 0x9F, header[11]


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
    "aac_latm": _latm,
    "ac3": _ac3,
    "eac3": _ac3,
    "dca": _dts,
    "truehd": _truehd,
    "mp2": _mpeg,
    "mp2float": _mpeg,
    "mp3": _mpeg,
    "mp3float": _mpeg,
    "flac": _flac,
}
