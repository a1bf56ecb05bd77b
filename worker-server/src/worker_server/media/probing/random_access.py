"""Checks that the key frames of a source are random access points, and that there are enough.

Decoding cannot begin at every packet that a container marks as a key frame: an MP4 without `stss`
marks all packets, and with intra refresh H.264 marks those from which on a picture is refreshed
gradually, column by column.
"""

from collections.abc import Callable
from typing import Any

import av

from worker_server.media.probing import vp9_headers
from worker_server.media.probing.bits import Bits
from worker_server.media.probing.sei import messages
from worker_server.media.probing.stream_headers import length_size_of, units_of

# A part is decoded from the key frame before it on. With more pictures than these between two key
# frames (a minute at 30 fps), it takes less time to normalize the source, and a decoder that shows
# nothing yet is not taken for one that hangs.
MAX_PICTURES = 1800

_HEAD_BYTES = 4096  # headers, SEI, and the start of the first slice
# ITU-T H.264, 7.4.1 and annex D
_H264_SLICE, _H264_IDR, _H264_SEI = 1, 5, 6
_RECOVERY_POINT = 6
_H264_INTRA = {2, 4, 7, 9}  # slice_type: I and SI
_HEVC_IRAP = range(16, 24)  # ITU-T H.265, 7.4.2.2
_HEVC_VCL = range(32)
_VVC_IRAP = range(7, 10)  # IDR and CRA, not GDR (ITU-T H.266, 7.4.2.2)
_VVC_VCL = range(12)
_MPEG4_PICTURE, _MPEG12_PICTURE = b"\0\0\1\xb6", b"\0\0\1\0"
_MPEG12_INTRA = {1, 4}  # picture_coding_type: I, and D of MPEG-1


class RandomAccess:
    """Follows the packets of a video to find where decoding can begin."""

    def __init__(self, codec: str, extradata: bytes) -> None:
        self._is_point = _reader(codec, extradata)
        self._pictures = 0

    def fault(self, packet: "av.Packet[Any]") -> str:
        """Return why parts cannot be decoded from the key frames on; empty where they can."""
        if packet.is_keyframe:
            self._pictures = 0
            if self._is_point and not self._is_point(bytes(memoryview(packet)[:_HEAD_BYTES])):
                return "decoding cannot begin at each key frame"
        self._pictures += 1
        return "key frames are far apart" if self._pictures > MAX_PICTURES else ""


def _reader(codec: str, extradata: bytes) -> Callable[[bytes], bool] | None:
    """Return a function from a packet's head to whether decoding can begin with it.

    None for codecs whose pictures are all intra, or whose packets do not say.
    """
    if codec in _OF_UNITS:
        is_point, length_size = _OF_UNITS[codec], length_size_of(codec, extradata)
        return lambda head: is_point(units_of(head, length_size))
    return _OF_HEAD.get(codec)


def _h264(units: list[bytes]) -> bool:
    for unit in units:
        kind = unit[0] & 0x1F if unit else 0
        if kind == _H264_SEI and _recovery_frames(unit):
            return False
        if kind in (_H264_SLICE, _H264_IDR):
            return kind == _H264_IDR or _slice_type(unit) in _H264_INTRA
    return True


def _slice_type(unit: bytes) -> int:
    bits = Bits(unit[1:16].replace(b"\0\0\3", b"\0\0"))
    bits.ue()  # first_mb_in_slice
    return bits.ue()


def _recovery_frames(unit: bytes) -> int:
    """Return recovery_frame_cnt of an SEI unit's recovery point (D.1.8); 0 where it has none."""
    for kind, payload in messages(unit, header_bytes=1):
        if kind == _RECOVERY_POINT:
            return Bits(payload).ue()
    return 0


def _hevc(units: list[bytes]) -> bool:
    kinds = (unit[0] >> 1 & 0x3F for unit in units if unit)
    return next((kind in _HEVC_IRAP for kind in kinds if kind in _HEVC_VCL), True)


def _vvc(units: list[bytes]) -> bool:
    kinds = (unit[1] >> 3 for unit in units if len(unit) > 1)
    return next((kind in _VVC_IRAP for kind in kinds if kind in _VVC_VCL), True)


def _mpeg4(head: bytes) -> bool:
    at = head.find(_MPEG4_PICTURE) + len(_MPEG4_PICTURE)
    return at < len(_MPEG4_PICTURE) or at >= len(head) or not head[at] >> 6  # vop_coding_type


def _mpeg12(head: bytes) -> bool:
    at = head.find(_MPEG12_PICTURE) + len(_MPEG12_PICTURE)
    if at < len(_MPEG12_PICTURE) or at + 1 >= len(head):
        return True
    return head[at + 1] >> 3 & 7 in _MPEG12_INTRA  # after temporal_reference, ten bits


def _vp8(head: bytes) -> bool:
    return not head[0] & 1  # RFC 6386, 9.1


def _vp9(head: bytes) -> bool:
    return bool(vp9_headers.key_frame_headers(head))


_OF_UNITS: dict[str, Callable[[list[bytes]], bool]] = {"h264": _h264, "hevc": _hevc, "vvc": _vvc}
_OF_HEAD: dict[str, Callable[[bytes], bool]] = {
    "mpeg4": _mpeg4,
    "mpeg1video": _mpeg12,
    "mpeg2video": _mpeg12,
    "vp8": _vp8,
    "vp9": _vp9,
}
