"""Finds the pictures of a part that can be copied: from an IDR picture on, self-contained."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from av import VideoStream
from av.container import InputContainer

from worker_server.media.model.edit import SEEK_MARGIN_S, PartEdit
from worker_server.media.model.frame_grid import frame_index
from worker_server.media.model.plan import FrameRange
from worker_server.media.rendering.h264 import ParameterSets, UnsupportedStream, headers, picture

# A copied clip has the source's bit rate. Cameras and phones stay below this limit (22 Mbit/s for
# 1080p30); sources above it are encoded. Small pictures need more bits for each pixel.
_MAX_BITS_PER_PIXEL = Fraction(35, 100)
_MIN_LIMIT_BITS_PER_S, _MAX_BITS_PER_S = 2_000_000, 24_000_000
_MIN_SHARE = Fraction(1, 4)  # of the part; less does not pay for encoding the edges separately
_BASELINE, _MAIN, _HIGH = 66, 77, 100
_MAX_LEVEL = 52  # level_idc of level 5.2, which hardware decoders accept


@dataclass(frozen=True)
class CodedPicture:
    """One coded picture: its slices with lengths of four bytes, its place on the source's grid."""

    data: bytes
    frame: int
    is_idr: bool


@dataclass(frozen=True)
class Span:
    """The frames to copy, next to each other on the grid and in the file."""

    part: FrameRange
    reorder_depth: int  # max_num_reorder_frames
    sets: ParameterSets
    headers: dict[str, list[int]]


def find_span(container: InputContainer, edit: PartEdit) -> Span:
    """Return the longest span.

    Raise UnsupportedStream, saying why, where there is none or it is too short.
    """
    video = _video(container, edit)
    fields, sets = headers(video), ParameterSets.of(video.codec_context.extradata)
    _check_headers(fields, sets, edit)
    first, count, delay, size_bytes = _longest(_pictures(container, edit, sets), edit)
    if count < edit.part.frame_count * _MIN_SHARE:
        raise UnsupportedStream(f"only {count} of {edit.part.frame_count} frames can be copied")
    if size_bytes * 8 * edit.frame_rate > _max_bits_per_s(edit) * count:
        raise UnsupportedStream("the bit rate is too high")
    if delay and not any(fields.get("bitstream_restriction_flag", [])):
        raise UnsupportedStream("the stream does not declare its reorder depth")
    before = edit.frames_before + first - edit.part.start_frame
    if before == 1:
        raise UnsupportedStream("only one picture would be encoded before the copied ones")
    if not before and fields["profile_idc"] != [_HIGH]:
        raise UnsupportedStream("the clip would begin in a profile other than High")
    return Span(replace(edit.part, start_frame=first, end_frame=first + count), delay, sets, fields)


def copied_pictures(
    container: InputContainer, edit: PartEdit, span: Span
) -> Iterator[CodedPicture]:
    """Yield the pictures of a span in decoding order."""
    for number, coded in enumerate(_pictures(container, edit, span.sets)):
        if number == span.part.frame_count:
            return
        yield coded


def _max_bits_per_s(edit: PartEdit) -> Fraction:
    wanted = edit.width * edit.height * edit.frame_rate * _MAX_BITS_PER_PIXEL
    return min(Fraction(_MAX_BITS_PER_S), max(Fraction(_MIN_LIMIT_BITS_PER_S), wanted))


def _longest(pictures: Iterator[CodedPicture], edit: PartEdit) -> tuple[int, int, int, int]:
    """Return first frame, length, reorder depth and bytes of the longest span from the first IDR.

    Raise UnsupportedStream where a frame is there twice, or is shown before that IDR.
    """
    seen: set[int] = set()
    first = highest = delay = size_bytes = 0
    best = (edit.part.end_frame, 0, 0, 0)
    for number, coded in enumerate(pictures):
        first = coded.frame if not seen else first
        if coded.frame in seen or coded.frame < first:
            raise UnsupportedStream(
                f"frame {coded.frame} is repeated, or shown before its key frame"
            )
        if coded.frame >= edit.part.end_frame:
            break  # the rest, in decoding order, is encoded
        seen.add(coded.frame)
        highest, delay = max(highest, coded.frame), max(delay, number - (coded.frame - first))
        size_bytes += len(coded.data)
        if (
            highest - first == number
            and not coded.is_idr
            and _something_to_encode(edit, first, highest)
        ):
            # The span may end here: all pictures so far are shown before any later one. It must
            # not end on an IDR, as an encoded IDR follows: two with one idr_pic_id count as one.
            best = first, number + 1, delay, size_bytes
    return best


def _something_to_encode(edit: PartEdit, first: int, last: int) -> bool:
    has_bumpers = bool(edit.frames_before or edit.frames_after)
    return has_bumpers or first > edit.part.start_frame or last + 1 < edit.part.end_frame


def _pictures(
    container: InputContainer, edit: PartEdit, sets: ParameterSets
) -> Iterator[CodedPicture]:
    """Yield the file's pictures from the part's first IDR picture on, in decoding order."""
    video, source = _video(container, edit), edit.source
    start_s = source.origin_s + edit.part.start_frame / edit.frame_rate - SEEK_MARGIN_S
    if edit.part.start_frame:
        container.seek(int(start_s / _tick_s(video)), stream=video)
    begun = False
    for packet in container.demux(video):
        if packet.pts is None:
            if packet.size:
                raise UnsupportedStream("a packet has no time stamp")
            return
        frame = frame_index(packet.pts * _tick_s(video) - source.origin_s, edit.frame_rate)
        if not begun and frame >= edit.part.end_frame:
            return  # an IDR picture is shown after all before it, so the part has none
        if not begun and (frame < edit.part.start_frame or not packet.is_keyframe):
            continue
        data, is_idr = picture(bytes(packet), sets)
        begun = begun or is_idr
        if begun:
            if packet.is_discard or packet.is_corrupt:
                raise UnsupportedStream("a packet is damaged, or flagged to be discarded")
            yield CodedPicture(data, frame, is_idr)


def _check_headers(fields: dict[str, list[int]], sets: ParameterSets, edit: PartEdit) -> None:
    wrong = {
        name: fields.get(name)
        for name, fit in _allowed_values(edit).items()
        if set(fields.get(name, [0])) - fit
    }
    if wrong:
        raise UnsupportedStream(f"the stream has {wrong}")
    if len(sets.sps) != 1:
        raise UnsupportedStream("there are several sequence parameter sets")
    # Only Baseline has flexible macroblock order; with constraint_set1_flag the stream also
    # conforms to Main, and so does not use it.
    if fields["profile_idc"] == [_BASELINE] and fields["constraint_set1_flag"] != [1]:
        raise UnsupportedStream("the profile is Baseline")


def _allowed_values(edit: PartEdit) -> dict[str, set[int]]:
    """Return the values that a stream's header fields may have; a missing field counts as 0."""
    return {
        "profile_idc": {_BASELINE, _MAIN, _HIGH},
        "level_idc": set(range(_MAX_LEVEL + 1)),
        "chroma_format_idc": {0, 1},  # 0 is monochrome; the decoder has already reported 4:2:0
        "frame_mbs_only_flag": {1},
        "gaps_in_frame_num_allowed_flag": {0},
        "pic_width_in_mbs_minus1": {-(-edit.width // 16) - 1},
        "pic_height_in_map_units_minus1": {-(-edit.height // 16) - 1},
        "frame_crop_left_offset": {0},
        "frame_crop_top_offset": {0},
        "num_slice_groups_minus1": {0},
    }


def _video(container: InputContainer, edit: PartEdit) -> VideoStream:
    video = container.streams[edit.source.video_index]
    if not isinstance(video, VideoStream):
        raise UnsupportedStream("the stream at the probed index is not video")
    return video


def _tick_s(video: VideoStream) -> Fraction:
    if video.time_base is None:
        raise UnsupportedStream("the stream has no time base")
    return video.time_base
