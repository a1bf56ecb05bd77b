"""H.264 syntax that stream copy needs: parameter sets, and the NAL units of a packet.

Names and numbers are those of ITU-T H.264; `avcC` is the record of ISO/IEC 14496-15, 5.3.3.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import av
import av.logging

SLICE, IDR_SLICE = 1, 5
SPS, PPS = 7, 8
SEI = 6
_DISPLAY_ORIENTATION = 47  # payloadType (annex D): how to rotate and flip what follows
# NAL unit types on which no picture depends: SEI, delimiter, ends of sequence and stream, filler.
DROPPABLE = {6, 9, 10, 11, 12}

_FIELD = re.compile(r"^\d+\s+(\w+)\s+[01]+ = (-?\d+)\s*$")
_MIN_SPS_BYTES = 4  # NAL header, profile, constraint flags, level
_START_CODE = re.compile(rb"\x00*\x00\x00\x01")  # never inside a unit (emulation prevention)
# Profiles whose avcC ends without chroma format and bit depths.
_SHORT_RECORDS = {66, 77, 88}


class UnsupportedStream(Exception):
    """The source cannot be copied; the message says why, for the log."""


@dataclass(frozen=True)
class ParameterSets:
    """The parameter sets of one stream, as units without start code or length."""

    length_size: int  # bytes of the length field before each NAL unit
    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]

    @classmethod
    def of(cls, record: bytes | None) -> Self:
        """Parse a stream's avcC. Raise UnsupportedStream for anything else."""
        if not record or record[0] != 1:
            raise UnsupportedStream("the parameter sets are not in the header")
        try:
            sps, offset = _sets(record, 6, record[5] & 0x1F)
            pps, _ = _sets(record, offset + 1, record[offset])
        except (IndexError, struct.error) as error:
            raise UnsupportedStream("the parameter sets are cut off") from error
        if not sps or not pps or min(map(len, sps)) < _MIN_SPS_BYTES:
            raise UnsupportedStream("parameter sets are missing")
        return cls((record[4] & 3) + 1, sps, pps)

    @classmethod
    def of_byte_stream(cls, data: bytes | None) -> Self:
        """Parse parameter sets with start codes (H.264, annex B)."""
        units = [unit for unit in _START_CODE.split(data or b"") if unit]
        sets = (tuple(unit for unit in units if kind(unit) == wanted) for wanted in (SPS, PPS))
        return cls(4, *sets)

    def joined(self, other: "ParameterSets") -> bytes:
        """Return the avcC of a stream that switches between both, with four-byte unit lengths.

        It promises what both need: the highest profile and level, and a constraint only if all have
        it.
        """
        sps, pps = self.sps + other.sps, self.pps + other.pps
        profile, level = max(unit[1] for unit in sps), max(unit[3] for unit in sps)
        constraints = 0xFF
        for unit in sps:
            constraints &= unit[2]
        record = bytes([1, profile, constraints, level, 0xFF, 0xE0 | len(sps)]) + b"".join(
            map(_with_u16_length, sps)
        )
        record += bytes([len(pps)]) + b"".join(map(_with_u16_length, pps))
        # 4:2:0 in eight bits, no extensions.
        return record if profile in _SHORT_RECORDS else record + bytes([0xFC | 1, 0xF8, 0xF8, 0])


def headers(stream: "av.VideoStream") -> dict[str, list[int]]:
    """Return the fields of the parameter sets, by the standard's names, in record order.

    They are parsed from what ffmpeg's bitstream filter `trace_headers` logs.
    """
    before = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        with av.logging.Capture() as lines:
            av.BitStreamFilterContext("trace_headers", stream)
    finally:
        av.logging.set_level(before)
    fields: dict[str, list[int]] = {}
    for _, _, line in lines:
        if match := _FIELD.match(line):
            fields.setdefault(match[1], []).append(int(match[2]))
    return fields


def units(data: bytes, length_size: int) -> Iterator[bytes]:
    """Yield the units of a packet. Raise UnsupportedStream where lengths and data disagree."""
    offset = 0
    while offset < len(data):
        start = offset + length_size
        offset = start + int.from_bytes(data[offset:start])
        if start >= offset or offset > len(data):
            raise UnsupportedStream("a packet's units do not fill it")
        yield data[start:offset]


def kind(unit: bytes) -> int:
    """Return nal_unit_type."""
    return unit[0] & 0x1F


def picture(data: bytes, sets: ParameterSets) -> tuple[bytes, bool]:
    """Return a packet with only its slices left, and whether it is an IDR picture.

    Raise UnsupportedStream for what cannot be muxed as it is: changed parameter sets, a display
    orientation SEI, other types of NAL units, IDR and other slices in one packet.
    """
    slices = []
    for unit in units(data, sets.length_size):
        if kind(unit) in (SLICE, IDR_SLICE):
            slices.append(unit)
        elif kind(unit) in (SPS, PPS):
            if unit not in sets.sps + sets.pps:
                raise UnsupportedStream("the parameter sets change")
        elif kind(unit) == SEI and _DISPLAY_ORIENTATION in set(_sei_payload_types(unit)):
            raise UnsupportedStream("the stream has a display orientation SEI")
        elif kind(unit) not in DROPPABLE:
            raise UnsupportedStream(f"the stream has a NAL unit of type {kind(unit)}")
    kinds = {kind(unit) for unit in slices}
    if len(kinds) != 1:
        raise UnsupportedStream("a packet is not one picture")
    return b"".join(map(_with_u32_length, slices)), kinds == {IDR_SLICE}


def _sei_payload_types(unit: bytes) -> Iterator[int]:
    """Yield the types of the messages in an SEI unit (7.3.2.3.1), up to a truncated one."""
    data = unit.replace(b"\0\0\3", b"\0\0")  # emulation prevention
    at = 1
    while at + 2 < len(data):  # stop at rbsp_trailing_bits
        numbers = []
        for _ in ("payloadType", "payloadSize"):
            number = 0
            while at < len(data) and data[at] == 0xFF:
                number, at = number + 0xFF, at + 1
            if at >= len(data):
                return
            numbers.append(number + data[at])
            at += 1
        yield numbers[0]
        at += numbers[1]


def _sets(record: bytes, offset: int, count: int) -> tuple[tuple[bytes, ...], int]:
    units = []
    for _ in range(count):
        (size,) = struct.unpack_from(">H", record, offset)
        offset += 2 + size
        units.append(record[offset - size : offset])
        if len(units[-1]) != size or not size:
            raise IndexError
    return tuple(units), offset


def _with_u16_length(unit: bytes) -> bytes:
    return struct.pack(">H", len(unit)) + unit


def _with_u32_length(unit: bytes) -> bytes:
    return struct.pack(">I", len(unit)) + unit
