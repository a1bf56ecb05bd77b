"""Reads AV1's sequence and frame headers up to the size (AV1 bitstream specification, 5.3 to 5.9).

Frames may have another size than the sequence header says: encoders shrink them for a lower bit
rate, in calls and screen sharing above all.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from worker_server.media.probing.bits import Bits

_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6  # obu_type
_KEY, _SWITCH = 0, 3  # frame_type
_SELECT = 2  # the frame header says which
_MAX_BYTES = 4096  # of a sequence header: one has at most about 200
_HEAD_BYTES = 16  # a frame header has at most 60 bits up to the flag
_MAX_OBUS = 64


@dataclass(frozen=True)
class _Sequence:
    """The fields of a sequence header on which the place of a frame's size depends."""

    is_reduced: bool = False  # a still picture
    presentation_time_bits: int = 0  # 0: the frame header has no time
    frame_id_bits: int = 0
    screen_content_tools: int = _SELECT
    integer_mv: int = _SELECT
    max_width: int = 0
    max_height: int = 0


def sequence_header(packet: bytes) -> bytes:
    """Return the sequence header in a key frame's packet; nothing where there is none."""
    units = _units(memoryview(packet))
    return next((bytes(content) for kind, content in units if kind == _SEQUENCE_HEADER), b"")


def sizes_between_key_frames(packet: bytes | memoryview, header: bytes) -> list[tuple[int, int]]:
    """Return the largest size of frames, in pixels, where one of the packet has its own size.

    `header` is the sequence header before it. A frame with its own size is nearly always smaller
    than the sequence header says; the size itself is not read.
    """
    if not header:
        return []
    sequence = _sequence(header)
    frames = (content for kind, content in _units(packet) if kind in (_FRAME_HEADER, _FRAME))
    overrides = any(_overrides_size(sequence, Bits(content[:_HEAD_BYTES])) for content in frames)
    return [(sequence.max_width, sequence.max_height)] if overrides else []


def _units(packet: bytes | memoryview) -> Iterator[tuple[int, bytes | memoryview]]:
    """Yield the type and the first bytes of each open bitstream unit."""
    at = 0
    for _ in range(_MAX_OBUS):
        if at >= len(packet):
            return
        kind, has_extension, has_size = packet[at] >> 3 & 15, packet[at] & 4, packet[at] & 2
        at += 2 if has_extension else 1
        size, at = _leb128(packet, at) if has_size else (len(packet) - at, at)
        yield kind, packet[at : at + min(size, _MAX_BYTES)]
        at += size


def _leb128(data: bytes | memoryview, at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[at : at + 8]):
        value |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            return value, at + index + 1
    return value, len(data)


@functools.lru_cache(maxsize=8)  # every frame of a source has the same one
def _sequence(header: bytes) -> _Sequence:
    bits = Bits(header)
    bits.read(4)  # seq_profile, still_picture
    if bits.read(1):  # reduced_still_picture_header
        return _Sequence(is_reduced=True)
    presentation_time_bits = _read_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    size = bits.read(width_bits) + 1, bits.read(height_bits) + 1  # max_frame_width_minus_1 …
    # delta_frame_id_length_minus_2, additional_frame_id_length_minus_1
    frame_id_bits = bits.read(4) + 2 + bits.read(3) + 1 if bits.read(1) else 0
    bits.read(7)  # use_128x128_superblock … enable_dual_filter
    if bits.read(1):  # enable_order_hint
        bits.read(2)  # enable_jnt_comp, enable_ref_frame_mvs
    tools = _SELECT if bits.read(1) else bits.read(1)
    integer_mv = _SELECT if not tools or bits.read(1) else bits.read(1)
    return _Sequence(False, presentation_time_bits, frame_id_bits, tools, integer_mv, *size)


def _read_operating_points(bits: Bits) -> int:
    """Read on up to the size; return the bits of the presentation time of shown frames."""
    presentation_time_bits = delay_bits = 0
    if bits.read(1):  # timing_info_present_flag
        bits.read(64)  # num_units_in_display_tick, time_scale
        if has_equal_intervals := bits.read(1):
            bits.ue()  # num_ticks_per_picture_minus_1
        if bits.read(1):  # decoder_model_info_present_flag
            delay_bits = bits.read(5) + 1
            bits.read(32 + 5)  # num_units_in_decoding_tick, buffer_removal_time_length_minus_1
            time_bits = bits.read(5) + 1
            presentation_time_bits = 0 if has_equal_intervals else time_bits
    has_display_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):  # operating_points_cnt_minus_1
        bits.read(12)  # operating_point_idc
        if bits.read(5) > 7:  # seq_level_idx
            bits.read(1)  # seq_tier
        if delay_bits and bits.read(1):
            bits.read(2 * delay_bits + 1)  # operating_parameters_info
        if has_display_delay and bits.read(1):
            bits.read(4)  # initial_display_delay_minus_1
    return presentation_time_bits


def _overrides_size(sequence: _Sequence, bits: Bits) -> bool:
    """Read a frame header up to frame_size_override_flag, and return it."""
    if sequence.is_reduced or bits.read(1):  # show_existing_frame
        return False
    kind, is_shown = bits.read(2), bits.read(1)
    bits.read(sequence.presentation_time_bits if is_shown else 1)  # else showable_frame
    if kind != _SWITCH and not (kind == _KEY and is_shown):
        bits.read(1)  # error_resilient_mode
    bits.read(1)  # disable_cdf_update
    tools = sequence.screen_content_tools
    allows_tools = bits.read(1) if tools == _SELECT else tools
    if allows_tools and sequence.integer_mv == _SELECT:
        bits.read(1)  # force_integer_mv
    bits.read(sequence.frame_id_bits)  # current_frame_id
    return kind == _SWITCH or bool(bits.read(1))
