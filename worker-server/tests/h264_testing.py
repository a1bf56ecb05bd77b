"""H.264 whose fields are pictures of their own: flat ones, of I_PCM macroblocks.

No encoder of ffmpeg writes it.
"""

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av

WIDTH, HEIGHT = 64, 64
FRAME_TICKS = 3600  # 25 frames a second
_MACROBLOCKS = (WIDTH // 16) * (HEIGHT // 16)
_GROUP = 12  # frames from one IDR picture to the next
_FRAME_NUM_BITS, _ORDER_BITS = 4, 8


class Picture(NamedTuple):
    """A frame or a field: an access unit of its own."""

    data: bytes
    time: int  # in ticks of 1/90,000 s, from the first picture on
    is_second: bool
    is_key: bool


def luma_of(frame: int) -> int:
    """Return the luma of every sample of a frame."""
    return 32 + 4 * frame


def pictures(frames: range, *, with_frames: bool = False) -> list[Picture]:
    """Return two fields for each frame; `with_frames` makes each third one a frame picture."""
    return [
        _picture(frame, field, frames.start)
        for frame in frames
        for field in ([None] if with_frames and frame % 3 == 2 else [0, 1])
    ]


def write(path: Path, coded: list[Picture]) -> Path:
    """Write the pictures, each as a packet with a stamp."""
    with av.open(str(path), "w") as container:
        stream = container.add_mux_stream("h264", rate=25, width=WIDTH, height=HEIGHT)
        for picture in coded:
            packet = av.Packet(picture.data)
            packet.stream, packet.time_base = stream, Fraction(1, 90_000)
            packet.pts = packet.dts = picture.time
            packet.is_keyframe = picture.is_key
            container.mux_one(packet)
    return path


def write_without_second_stamps(path: Path, coded: list[Picture]) -> Path:
    """Write a transport stream whose second fields have no stamps, as broadcasters send it."""
    data, left = bytearray(write(path, coded).read_bytes()), list(coded)
    for at in range(0, len(data), 188):
        payload = at + 4 + (data[at + 4] + 1 if data[at + 3] & 0x20 else 0)
        is_video = data[payload : payload + 4] == b"\0\0\1\xe0"  # a PES packet begins
        if data[at + 1] & 0x40 and is_video and left.pop(0).is_second:
            data[payload + 7] &= 0x3F  # PTS_DTS_flags
            length = data[payload + 8]
            data[payload + 9 : payload + 9 + length] = b"\xff" * length
    assert not left
    path.write_bytes(data)
    return path


def _picture(frame: int, field: int | None, first: int) -> Picture:
    is_idr = frame % _GROUP == 0 and not field
    headers = [_sequence_parameters(), _picture_parameters()] if is_idr else []
    units = [*headers, _slice(frame, field, is_idr=is_idr)]
    time = FRAME_TICKS * (2 * (frame - first) + (field or 0)) // 2
    return Picture(b"".join(b"\0\0\0\1" + unit for unit in units), time, field == 1, is_idr)


class _Bits:
    def __init__(self) -> None:
        self._bits = ""

    def u(self, count: int, value: int) -> "_Bits":
        self._bits += f"{value:0{count}b}"
        return self

    def ue(self, *values: int) -> "_Bits":
        """Append Exp-Golomb codes (ITU-T H.264, 9.1)."""
        for value in values:
            code = f"{value + 1:b}"
            self._bits += "0" * (len(code) - 1) + code
        return self

    def pcm(self, samples: bytes) -> "_Bits":
        self._bits += "0" * (-len(self._bits) % 8)
        self._bits += "".join(f"{sample:08b}" for sample in samples)
        return self

    def unit(self, header: int) -> bytes:
        """Return the NAL unit, with emulation prevention bytes."""
        return escaped(bytes([header]), self._bits)


def escaped(start: bytes, bits: str) -> bytes:
    """Return `start`, the bits and the stop bit, with emulation prevention bytes."""
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    unit, zeros = bytearray(start), 0
    for byte in int(bits, 2).to_bytes(len(bits) // 8):
        if zeros >= 2 and byte <= 3:
            unit.append(3)
            zeros = 0
        unit.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(unit)


def _sequence_parameters() -> bytes:
    bits = _Bits().u(8, 77).u(8, 0).u(8, 30)  # Main profile, level 3
    bits.ue(0, _FRAME_NUM_BITS - 4, 0, _ORDER_BITS - 4, 1)  # order type 0; one reference
    bits.u(1, 0).ue(WIDTH // 16 - 1, HEIGHT // 32 - 1)
    # Neither frames only nor adaptive; direct_8x8_inference_flag; neither cropping nor VUI.
    return bits.u(1, 0).u(1, 0).u(1, 1).u(1, 0).u(1, 0).unit(0x67)


def _picture_parameters() -> bytes:
    bits = _Bits().ue(0, 0).u(2, 0).ue(0, 0, 0).u(3, 0).ue(0, 0, 0)
    return bits.u(1, 1).u(2, 0).unit(0x68)  # deblocking_filter_control_present_flag


def _slice(frame: int, field: int | None, *, is_idr: bool) -> bytes:
    """Return a picture of one I slice; `field` is 0 for the top field, None for a frame."""
    number = frame % _GROUP
    bits = _Bits().ue(0, 7, 0).u(_FRAME_NUM_BITS, number)
    bits.u(1, field is not None)
    if field is not None:
        bits.u(1, field)
    if is_idr:
        bits.ue(frame // _GROUP % 2)
    bits.u(_ORDER_BITS, 2 * number + (field or 0))
    bits.u(2 if is_idr else 1, 0)  # dec_ref_pic_marking
    bits.ue(0, 1)  # slice_qp_delta, disable_deblocking_filter_idc
    for _ in range(_MACROBLOCKS if field is None else _MACROBLOCKS // 2):
        bits.ue(25).pcm(bytes([luma_of(frame)] * 256 + [128] * 128))
    return bits.unit(0x65 if is_idr else 0x21)
