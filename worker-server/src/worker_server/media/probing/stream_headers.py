"""Reads from a packet's first bytes what may change mid-stream: size, format, interlacing.

Decoding every frame would find the same, at a hundred times the cost.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from worker_server.media.probing.av1_headers import sequence_header
from worker_server.media.probing.bits import Bits
from worker_server.media.probing.vp9_headers import key_frame_headers

_HEAD_BYTES = 4096  # headers are at the start of a packet, before the coded slices
_START_CODE = re.compile(rb"\x00\x00\x01")
_SEQUENCE, _SEQUENCE_DISPLAY = 1, 2  # extension_start_code_identifier (H.262, table 6-2)
_JPEG_SIZES = {0xC0, 0xC1, 0xC2, 0xC3}  # start of frame: precision, height, width, components


def header_reader(codec: str, extradata: bytes | None) -> Callable[[bytes], bytes] | None:
    """Return a function from a key frame's packet to its headers, empty where it has none.

    None for codecs whose headers are in the container alone, or that have none.
    """
    if codec in _SPS:
        length_size = length_size_of(codec, extradata or b"")
        return lambda packet: _parameter_sets(units_of(packet, length_size), codec)
    if codec in ("mpeg1video", "mpeg2video"):
        return _mpeg12_reader()
    return _READERS.get(codec)


def headers_of_extradata(codec: str, extradata: bytes | None) -> bytes:
    """Return the headers in the container's extradata, in the form of `header_reader`."""
    if codec == "vc1":
        return _vc1(extradata or b"")
    if codec not in _SPS or not extradata:
        return b""
    if not length_size_of(codec, extradata):
        return _parameter_sets(units_of(extradata, 0), codec)
    return _parameter_sets(list(_record_units(codec, extradata)), codec)


def length_size_of(codec: str, extradata: bytes) -> int:
    """Return the bytes of the length before each unit, 0 where start codes separate units."""
    if not extradata or extradata[:3] in (b"\0\0\1", b"\0\0\0"):
        return 0
    at = {"h264": 4, "hevc": 21, "vvc": 0}[codec]  # lengthSizeMinusOne, ISO/IEC 14496-15
    shift = 1 if codec == "vvc" else 0
    return (extradata[at] >> shift & 3) + 1 if len(extradata) > at else 0


def _record_units(codec: str, record: bytes) -> Iterator[bytes]:
    """Yield the SPS of an avcC, all units of an hvcC (ISO/IEC 14496-15, 5.3.3 and 8.3.3)."""
    if codec == "h264":
        yield from _counted_units(record, 6, record[5] & 0x1F)[0]
    elif codec == "hevc" and len(record) > 22:
        at = 23
        for _ in range(record[22]):
            units, at = _counted_units(record, at + 3, int.from_bytes(record[at + 1 : at + 3]))
            yield from units


def _counted_units(record: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    units = []
    for _ in range(min(count, 64)):
        end = at + 2 + int.from_bytes(record[at : at + 2])
        units.append(record[at + 2 : end])
        at = end
    return units, at


def _parameter_sets(units: Iterable[bytes], codec: str) -> bytes:
    """Return the sequence parameter sets; picture parameter sets do not affect size or format."""
    return b"".join(unit.rstrip(b"\0") for unit in units if _unit_type(unit, codec) == _SPS[codec])


_SPS = {"h264": 7, "hevc": 33, "vvc": 15}  # NAL unit types


def _unit_type(unit: bytes, codec: str) -> int:
    if not unit:
        return -1
    if codec == "h264":
        return unit[0] & 0x1F
    if codec == "hevc":
        return unit[0] >> 1 & 0x3F
    return unit[1] >> 3 if len(unit) > 1 else -1


def units_of(data: bytes, length_size: int) -> list[bytes]:
    """Return the NAL units at the start of a packet; the last may be cut off."""
    data = data[:_HEAD_BYTES]
    if not length_size:
        return _START_CODE.split(data)[1:]
    units, at = [], 0
    while at + length_size < len(data):
        end = at + length_size + int.from_bytes(data[at : at + length_size])
        units.append(data[at + length_size : end])
        at = end
    return units


def _mpeg12_reader() -> Callable[[bytes], bytes]:
    """Return the reader of sequence header and extension, and of the colours signalled last.

    Left out are bit rate, buffer size and matrices, which may change from one sequence to the next
    in an ordinary stream.
    """
    colours = b""

    def read(packet: bytes) -> bytes:
        nonlocal colours
        at = packet.find(b"\0\0\1\xb3", 0, _HEAD_BYTES)
        if at < 0:
            return b""
        extensions = {each[0] >> 4: each for each in _mpeg2_extensions(packet[at:_HEAD_BYTES])}
        display = extensions.get(_SEQUENCE_DISPLAY, b"\0")
        colours = display[1:4] if display[0] & 1 else colours
        return packet[at + 4 : at + 8] + extensions.get(_SEQUENCE, b"")[:2] + colours

    return read


def _mpeg2_extensions(data: bytes) -> Iterator[bytes]:
    """Yield what follows each extension_start_code (H.262, 6.2.2.2)."""
    return (each for each in data.split(b"\0\0\1\xb5")[1:] if each)


def _mpeg4(packet: bytes) -> bytes:
    """Return the video object layer's header (ISO/IEC 14496-2, 6.2.3)."""
    for match in _START_CODE.finditer(packet, 0, _HEAD_BYTES):
        at = match.end()
        if at < len(packet) and 0x20 <= packet[at] <= 0x2F:
            return packet[at : at + 16]
    return b""


def _vc1(packet: bytes) -> bytes:
    """Return size and scan of the Advanced profile's sequence header (SMPTE ST 421, 6.1).

    The two bytes before have rates, which may change.
    """
    at = packet.find(b"\0\0\1\x0f", 0, _HEAD_BYTES) + 4
    header = packet[at : at + 12].replace(b"\0\0\3", b"\0\0")  # emulation prevention
    return header[2:6] if at >= 4 else b""


def _flv(packet: bytes) -> bytes:
    """Return the size in the picture header of Sorenson's H.263 (Adobe SWF 19, H.263 video)."""
    bits = Bits(packet[:9])
    bits.read(17 + 5 + 8)  # start code, version, temporal reference
    code = bits.read(3)
    lengths = {0: 16, 1: 32}  # bits of a width and height that are no standard size
    return bytes([code]) + bits.read(lengths.get(code, 0)).to_bytes(4)


def _dv(packet: bytes) -> bytes:
    """Return the system (525 or 625 lines), and whether the picture is 16:9 (IEC 61834-4, 9.2)."""
    track, control = packet[4:5], packet[453:458]  # of the first VAUX block
    if control[:1] != b"\x61" or len(control) < 5:
        return b""
    display = control[2] & 7
    is_wide = display == 2 or (not track[0] & 7 and display == 7)
    return bytes([packet[3] & 0x80, is_wide])


def _vp8(packet: bytes) -> bytes:
    return packet[6:10] if packet[3:6] == b"\x9d\x01\x2a" else b""


def _jpeg(packet: bytes) -> bytes:
    at = 2
    while at + 9 < len(packet) and packet[at] == 0xFF:
        if packet[at + 1] in _JPEG_SIZES:
            components = packet[at + 9]
            return packet[at + 4 : at + 10 + 3 * components]
        at += 2 + int.from_bytes(packet[at + 2 : at + 4])
    return b""


def _png(packet: bytes) -> bytes:
    """Return IHDR up to the colour type, and whether a colour is transparent (tRNS)."""
    is_clear = packet.find(b"tRNS", 0, max(0, packet.find(b"IDAT", 0, _HEAD_BYTES))) >= 0
    return packet[16:26] + bytes([is_clear]) if packet[12:16] == b"IHDR" else b""


def _prores(packet: bytes) -> bytes:
    """Return size, chroma and scan, colours and alpha (SMPTE RDD 36, 5.1.1)."""
    return packet[16:21] + packet[22:26] if packet[4:8] == b"icpf" else b""


def _magicyuv(packet: bytes) -> bytes:
    """Return format, flags and size."""
    return packet[8:12] + packet[16:25] if packet[:4] == b"MAGY" else b""


def _jpeg2000(packet: bytes) -> bytes:
    """Return SIZ (ISO/IEC 15444-1, A.5.1): size, number and depths of components."""
    at = packet.find(b"\xff\x4f\xff\x51", 0, _HEAD_BYTES) + 4
    return packet[at : at + int.from_bytes(packet[at : at + 2])] if at >= 4 else b""


_READERS: dict[str, Callable[[bytes], bytes]] = {
    "mpeg4": _mpeg4,
    "vc1": _vc1,
    "flv": _flv,
    "dvvideo": _dv,
    "vp8": _vp8,
    "vp9": key_frame_headers,
    "mjpeg": _jpeg,
    "png": _png,
    "prores": _prores,
    "magicyuv": _magicyuv,
    "jpeg2000": _jpeg2000,
    "av1": sequence_header,
    "libdav1d": sequence_header,
}
