"""How pictures of H.264 and HEVC are to be turned, where they tell so themselves.

The display orientation message (ITU-T H.264, D.1.27; H.265, D.2.17) stands before some pictures,
and holds for those that follow, up to the next message. Decoders tell it for the first of them
alone.
"""

from collections.abc import Callable
from typing import Any

import av
from av import VideoFrame

from worker_server.media.model.matrices import Matrix, display_matrix
from worker_server.media.probing.bits import Bits
from worker_server.media.probing.sei import messages
from worker_server.media.probing.stream_headers import length_size_of, units_of

# Mirrored left to right, top to bottom, and turned anticlockwise by so many parts of 65536.
Orientation = tuple[int, int, int]
Data = bytes | memoryview
UPRIGHT: Orientation = (0, 0, 0)

_DISPLAY_ORIENTATION = 47
_HEAD_BYTES = 4096  # units before the first slice
# Of the units with messages: their type, where it stands in the first byte, bytes of the header.
_SEI = {"h264": (6, 0, 0x1F, 1), "hevc": (39, 1, 0x3F, 2)}


def orientation_reader(codec: str, extradata: bytes) -> Callable[[Data], Orientation | None] | None:
    """Return a function from a packet to the orientation that it signals, None without one.

    None for codecs without the message.
    """
    if codec not in _SEI:
        return None
    length_size = length_size_of(codec, extradata)

    return lambda packet: _declared(codec, units_of(bytes(packet[:_HEAD_BYTES]), length_size))


def _declared(codec: str, units: list[bytes]) -> Orientation | None:
    wanted, shift, mask, header_bytes = _SEI[codec]
    for unit in units:
        if unit and unit[0] >> shift & mask == wanted:
            for kind, payload in messages(unit, header_bytes):
                if kind == _DISPLAY_ORIENTATION:
                    return _orientation(Bits(payload))
    return None


def _orientation(bits: Bits) -> Orientation:
    is_canceled = bits.read(1)
    return UPRIGHT if is_canceled else (bits.read(1), bits.read(1), bits.read(16))


class OrientationCheck:
    """Follows the key frames of a video to find whether their orientation changes."""

    def __init__(self, codec: str, extradata: bytes) -> None:
        self._read = orientation_reader(codec, extradata)
        self.last = UPRIGHT  # what the last key frame signals, or one before it
        self._begun = False

    def fault(self, packet: "av.Packet[Any]") -> str:
        """Return why pictures cannot be turned by the matrix of the first; empty where they can."""
        if self._read is None or not packet.is_keyframe:
            return ""
        declared, last, begun = self._read(memoryview(packet)), self.last, self._begun
        self.last, self._begun = declared or last, True
        if not begun or self.last == last == UPRIGHT:
            return ""
        if declared is None:
            return "the pictures' orientation is not declared again"
        return "the pictures' orientation changes" if declared != last else ""


class OrientationInForce:
    """Keeps the display matrix that a frame signals for the decoded frames after it."""

    def __init__(self, codec: str, extradata: bytes) -> None:
        self._read = orientation_reader(codec, extradata)
        self._upright: set[int] = set()  # numbers of the packets that tell so
        self._matrix: Matrix | None = None

    def expect(self, number: int, packet: "av.Packet[Any]") -> None:
        """Read a packet that is about to be decoded."""
        if self._read and self._read(memoryview(packet)) == UPRIGHT:
            self._upright.add(number)

    def matrix_of(self, frame: VideoFrame) -> Matrix | None:
        """Return the matrix of the next frame shown, whose `opaque` is its packet's number."""
        own = display_matrix(frame)
        if own or self._read is None or frame.opaque in self._upright:
            self._matrix = own
        return self._matrix
