"""Distinguishes frames from fields in interlaced H.264: two packets may hold one picture.

Names are those of ITU-T H.264, 7.3.
"""

from dataclasses import dataclass

from worker_server.media.probing.bits import Bits
from worker_server.media.probing.stream_headers import units_of

_SLICES, _SPS = (1, 5), 7
_WITH_CHROMA = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
_HEAD_BYTES = 64


def _bits_of(unit: bytes) -> Bits:
    return Bits(unit.replace(b"\0\0\3", b"\0\0"))  # emulation prevention


@dataclass(frozen=True)
class FrameCoding:
    """What a sequence parameter set says about fields."""

    frame_num_bits: int
    separate_planes: bool
    frames_only: bool


def frame_coding(headers: bytes) -> FrameCoding | None:
    """Read a sequence parameter set, as `stream_headers` returns it; None where there is none."""
    if len(headers) < 4 or headers[0] & 0x1F != _SPS:
        return None
    bits = _bits_of(headers[1:])
    profile = bits.read(8)
    bits.read(16)  # constraint flags, level_idc
    bits.ue()  # seq_parameter_set_id
    separate = profile in _WITH_CHROMA and _skip_chroma(bits)
    frame_num_bits = bits.ue() + 4
    _skip_order(bits)
    bits.ue()  # max_num_ref_frames
    bits.read(1)  # gaps_in_frame_num_value_allowed_flag
    bits.ue()  # pic_width_in_mbs_minus1
    bits.ue()  # pic_height_in_map_units_minus1
    return FrameCoding(frame_num_bits, separate, bool(bits.read(1)))


def _skip_chroma(bits: Bits) -> bool:
    """Skip chroma format, bit depths and scaling lists; return separate_colour_plane_flag."""
    chroma = bits.ue()
    separate = bool(bits.read(1)) if chroma == 3 else False
    bits.ue()
    bits.ue()
    bits.read(1)
    if bits.read(1):
        for index in range(12 if chroma == 3 else 8):
            if bits.read(1):
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return separate


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            code = bits.ue()
            delta = (code + 1) // 2 if code % 2 else -(code // 2)
            following = (last + delta) % 256
        last = following or last


def _skip_order(bits: Bits) -> None:
    kind = bits.ue()
    if kind == 0:
        bits.ue()
    elif kind == 1:
        bits.read(1)
        bits.ue()
        bits.ue()
        for _ in range(min(bits.ue(), 255)):
            bits.ue()


class FieldPairs:
    """Finds the packets that hold a frame's second field only."""

    def __init__(self, coding: FrameCoding, length_size: int) -> None:
        self._coding = coding
        self._length_size = length_size
        self._first: tuple[int, int] | None = (
            None  # frame_num and parity of a first field that awaits its second
        )

    def is_second(self, packet: bytes) -> bool:
        """Return whether this packet completes the frame that the packet before it began."""
        field = self._field(packet)
        first, self._first = self._first, field
        if first and field and first[0] == field[0] and first[1] != field[1]:
            self._first = None
            return True
        return False

    def _field(self, packet: bytes) -> tuple[int, int] | None:
        for unit in units_of(packet, self._length_size):
            if unit and unit[0] & 0x1F in _SLICES:
                bits = _bits_of(unit[1:_HEAD_BYTES])
                bits.ue()  # first_mb_in_slice
                bits.ue()  # slice_type
                bits.ue()  # pic_parameter_set_id
                bits.read(2 if self._coding.separate_planes else 0)
                number = bits.read(self._coding.frame_num_bits)
                return (number, bits.read(1)) if bits.read(1) else None
        return None
