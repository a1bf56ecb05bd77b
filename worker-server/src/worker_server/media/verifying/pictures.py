"""Compares pictures of a clip with those of its source as a player shows them.

Few frames are decoded: those that are key frames on both sides, and those near them. The check
shares no code with the renderers, so that no bug of theirs can hide here: it applies the display
matrix as ISO/IEC 14496-12 defines it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import compress
from operator import mul
from typing import Any

import av
from av import VideoFrame
from av.container import InputContainer

from worker_server.media.model import colour
from worker_server.media.model.edit import PartEdit
from worker_server.media.model.frame_grid import SEEK_OFFSET_FRAMES, frame_index
from worker_server.media.model.matrices import display_matrix
from worker_server.media.verifying.filters import filtered

_WIDTH, _HEIGHT = 32, 18  # size of a thumbnail in pixels
# Correlation ignores a shift of brightness or contrast; noise, saturated colours and low quality
# leave 0.96 or more. If a picture resembles its mirror image, the more similar one decides.
_MIN_CORRELATION = 0.8
_MIRROR_MARGIN = 0.02
_FLAT = 16.0  # variance of 8-bit luma below which a picture counts as flat
_NEAR_FRAMES = 2  # decoding from a key frame this close costs little
_JOIN_FRAMES = 12  # the most frames to decode before a join of copied and encoded ones
_MAX_REORDER = 32  # frames, the most a decoder delays output


@dataclass(frozen=True)
class _Video:
    """The pictures of one file by their place: on the source's grid, or in the clip."""

    container: InputContainer
    index: int
    origin_s: Fraction
    rate: Fraction
    shares_places: bool  # several pictures may have one place

    def packets_from_key(self, frame: int) -> Iterator[tuple[int, Any]]:
        """Yield frame and packet from the last key frame at or before `frame` on."""
        stream = self.container.streams[self.index]
        seek_s = self.origin_s + (frame + SEEK_OFFSET_FRAMES) / self.rate
        self.container.seek(int(seek_s / Fraction(stream.time_base or 1)), stream=stream)
        for packet in self.container.demux(stream):
            if packet.pts is not None:
                yield self._frame_of(packet.pts), packet

    def key_before(self, frame: int) -> int | None:
        """Return the last key frame at or before `frame`; None where seeking finds none."""
        first = next(self.packets_from_key(frame), None)
        return first[0] if first and first[1].is_keyframe and first[0] <= frame else None

    def pictures(self, frames: range) -> dict[int, VideoFrame]:
        """Decode from the key frame before to the last of `frames`, and no further.

        Of several pictures at one place on the grid the last is shown, as by ffmpeg's `fps`.
        """
        context: Any = self.container.streams[self.index].codec_context
        awaited, decoded = set(frames), []
        for frame, packet in self.packets_from_key(frames[0]):
            decoded += context.decode(packet)
            awaited.discard(frame)
            if not awaited and (not self.shares_places or self._is_past(decoded, frames[-1])):
                break
            if frame > frames[-1] + _MAX_REORDER:
                break
        decoded += context.decode(None)
        context.flush_buffers()
        shown = {self._frame_of(frame.pts): frame for frame in decoded if frame.pts is not None}
        return {frame: shown[frame] for frame in frames if frame in shown}

    def _is_past(self, decoded: Sequence[VideoFrame], frame: int) -> bool:
        """Return whether a picture after `frame` was decoded; they come in presentation order."""
        last = decoded[-1].pts if decoded else None
        return last is not None and self._frame_of(last) > frame

    def _frame_of(self, pts: int) -> int:
        tick_s = Fraction(self.container.streams[self.index].time_base or 1)
        return frame_index(pts * tick_s - self.origin_s, self.rate)


def is_comparable(edit: PartEdit) -> bool:
    """Return whether pictures must be the same: deinterlacing and tone mapping change them.

    Colour matrices that only zscale reads are not compared either: PyAV's filters lack it.
    """
    return not edit.source.interlaced and not colour.needs_zimg(edit.source)


def differing_frames(
    source: InputContainer, clip: InputContainer, clip_keys: Sequence[int], edit: PartEdit
) -> list[int]:
    """Compare a few frames; return those of the part, from 0, whose picture in the clip differs.

    `clip_keys` are the clip's key frames, sorted, by their index in the clip. Compared are the
    part's first key frame in the source, the one near its middle and the last, if the clip has a
    key frame near, and both sides of joins near key frames. Else the frame that costs least to
    decode.
    """
    shown, made = _source_video(source, edit), _clip_video(clip, edit)
    frames = [frame - edit.part.start_frame for frame in _to_compare(shown, clip_keys, edit)]
    return [frame for frame in frames if _differs(shown, made, frame, edit)]


def _source_video(container: InputContainer, edit: PartEdit) -> _Video:
    source = edit.source
    container.streams[source.video_index].codec_context.thread_count = 1
    shares_places = source.is_vfr or source.packet_count > source.frame_count
    return _Video(container, source.video_index, source.origin_s, source.frame_rate, shares_places)


def _clip_video(container: InputContainer, edit: PartEdit) -> _Video:
    video = container.streams.video[0]
    video.codec_context.thread_count = 1
    return _Video(container, video.index, Fraction(0), edit.frame_rate, shares_places=False)


def _to_compare(source: _Video, clip_keys: Sequence[int], edit: PartEdit) -> list[int]:
    """Return frames on the source's grid, those whose decoding costs little on both sides."""
    shift = edit.part.start_frame - edit.frames_before
    keys = [key + shift for key in clip_keys]
    own = {frame: _distance(frame, keys) for frame in _source_keys(source, edit)}
    near = [frame for frame, distance in own.items() if distance <= _NEAR_FRAMES]
    part = range(edit.part.start_frame, edit.part.end_frame)
    # A key frame in the clip but not in the source follows a seam, or was the encoder's choice.
    clips = {
        key: key - before
        for key in keys
        if key in part and key not in own and (before := source.key_before(key)) is not None
    }
    if near:
        # Check only joins that are cheap to decode up to, in the source and in the clip.
        joins = [
            key
            for key, distance in clips.items()
            if 0 < distance <= _JOIN_FRAMES and _distance(key - 1, keys) <= _JOIN_FRAMES
        ]
        return [*near, *(frame for key in joins for frame in (key - 1, key) if frame in part)]
    distances = own | clips
    return sorted(distances, key=lambda frame: distances[frame])[:1]


def _source_keys(source: _Video, edit: PartEdit) -> set[int]:
    """Return the first key frame of the part, the one near its middle and the last."""
    part, frames = edit.part, set()
    for target in (part.start_frame, (part.start_frame + part.end_frame) // 2, part.end_frame - 1):
        for frame, packet in source.packets_from_key(target):
            if frame >= part.end_frame:
                break
            if packet.is_keyframe and frame >= part.start_frame:
                frames.add(frame)
                break
    return frames


def _distance(frame: int, keys: Sequence[int]) -> int:
    """Return how many frames of the clip are decoded before this one."""
    return min((frame - key for key in keys if key <= frame), default=frame)


def _differs(source: _Video, clip: _Video, frame: int, edit: PartEdit) -> bool:
    """Return whether the clip shows another picture; at a variable rate neighbours are equal."""
    wanted = edit.part.start_frame + frame
    decoded = source.pictures(range(wanted, wanted + 1))
    if not decoded:
        return False  # the source has no frame at that time
    shown, seen = _upright_thumbnail(decoded[wanted], edit), _outside_watermark(edit)
    margin = 1 if edit.source.is_vfr else 0
    first = max(0, frame + edit.frames_before - margin)
    pictures = _clip_thumbnails(clip, range(first, first + 2 * margin + 1), edit)
    correlation = max((_correlation(shown, picture, seen) for picture in pictures), default=0.0)
    mirrored = [
        _correlation(image, picture, seen)
        for image in _mirror_images(shown)
        for picture in pictures
    ]
    return correlation < max(_MIN_CORRELATION, max(mirrored, default=0.0) - _MIRROR_MARGIN)


def _mirror_images(thumbnail: bytes) -> Iterator[bytes]:
    """Yield a thumbnail upside down, mirrored, and rotated by 180 degrees."""
    pixels = [thumbnail[start : start + 3] for start in range(0, len(thumbnail), 3)]
    rows = [pixels[start : start + _WIDTH] for start in range(0, len(pixels), _WIDTH)]
    yield b"".join(pixel for row in reversed(rows) for pixel in row)
    yield b"".join(pixel for row in rows for pixel in reversed(row))
    yield b"".join(reversed(pixels))


def _clip_thumbnails(clip: _Video, frames: range, edit: PartEdit) -> list[bytes]:
    """Return the clip's pictures at these places; none where they cannot be decoded."""
    scale = f"{_WIDTH}:{_HEIGHT}:flags=area:in_color_matrix=bt709:in_range=limited"
    filters = [*_content(edit), ("scale", scale)]
    try:
        return [_thumbnail(picture, filters) for picture in clip.pictures(frames).values()]
    except av.error.FFmpegError:
        return []


def _content(edit: PartEdit) -> list[tuple[str, str]]:
    """Return the filter from a frame to what it shows of the source, without background."""
    width, height, left, top = edit.content
    return [] if edit.fills_frame else [("crop", f"{width}:{height}:{left}:{top}:exact=1")]


def _upright_thumbnail(picture: VideoFrame, edit: PartEdit) -> bytes:
    width, height, left, top = edit.kept
    kept = [*_orientation(picture), ("crop", f"{width}:{height}:{left}:{top}:exact=1")]
    scale = ("scale", f"{_WIDTH}:{_HEIGHT}:flags=area:{colour.scale_input(edit.source)}")
    if colour.has_alpha(edit.source):
        return _on_background(picture, [*kept, scale], edit)
    return _thumbnail(picture, [*kept, scale])


def _on_background(
    picture: VideoFrame, to_thumbnail: Sequence[tuple[str, str]], edit: PartEdit
) -> bytes:
    """Return the thumbnail of a picture with alpha, blended with the background."""
    premultiply = [
        ("scale", colour.scale_input(edit.source)),
        ("format", "gbrap"),
        ("premultiply", "inplace=1"),
    ]
    premultiplied = _thumbnail(picture, [*premultiply, *to_thumbnail])
    alpha = _thumbnail(picture, [("format", "rgba"), ("alphaextract", ""), *to_thumbnail])
    background_pixels = edit.brand.background_rgb * (_WIDTH * _HEIGHT)
    return bytes(
        min(255, value + (255 - opacity) * behind // 255)
        for value, opacity, behind in zip(premultiplied, alpha, background_pixels, strict=True)
    )


def _orientation(picture: VideoFrame) -> Iterator[tuple[str, str]]:
    """Yield the filters of a display matrix: x'=ax+cy, y'=bx+dy (ISO/IEC 14496-12, 6.2.2)."""
    matrix = display_matrix(picture)
    if matrix is None:
        return
    a, b, _, c, d, *_ = matrix
    if a and b:  # not a rotation by a multiple of 90°
        yield "rotate", f"{math.atan2(b, a):.6f}"
        return
    swaps = abs(b) > abs(a)
    if swaps:
        yield "transpose", "cclock_flip"  # x' = y, y' = x
    if (c if swaps else a) < 0:
        yield "hflip", ""
    if (b if swaps else d) < 0:
        yield "vflip", ""


def _thumbnail(picture: VideoFrame, filters: Sequence[tuple[str, str]]) -> bytes:
    """Return the packed RGB values of a picture after filters that end in a thumbnail."""
    thumbnail = filtered(picture, (*filters, ("format", "rgb24")))
    plane = thumbnail.planes[0]
    rows, row_bytes = bytes(plane), 3 * _WIDTH
    starts = range(0, plane.line_size * _HEIGHT, plane.line_size)
    return b"".join(rows[start : start + row_bytes] for start in starts)


def _outside_watermark(edit: PartEdit) -> bytes | None:
    """Return a mask of a thumbnail's values: 0 under the watermark, else 1; None without one."""
    mark = edit.brand.watermark
    if mark is None:
        return None
    mark_w, mark_h, mark_left, mark_top = mark.box(edit.width, edit.height)
    width, height, left, top = edit.content
    first_x, first_y = (mark_left - left) * _WIDTH // width, (mark_top - top) * _HEIGHT // height
    end_x = -(-(mark_left + mark_w - left) * _WIDTH // width)
    end_y = -(-(mark_top + mark_h - top) * _HEIGHT // height)
    pixels = (
        not (first_x <= x < end_x and first_y <= y < end_y)
        for y in range(_HEIGHT)
        for x in range(_WIDTH)
    )
    return bytes(seen for seen in pixels for _ in range(3))


def _correlation(left: bytes, right: bytes, seen: bytes | None) -> float:
    """Return Pearson's correlation of two thumbnails, of the values that are `seen`.

    It is 1 where neither has contrast, or hardly any, and 0 where one is of a single colour.
    """
    if seen is not None:
        left, right = bytes(compress(left, seen)), bytes(compress(right, seen))
    if not left:
        return 1.0
    count, sum_left, sum_right = len(left), sum(left), sum(right)
    spread_left = sum(map(mul, left, left)) / count - (sum_left / count) ** 2
    spread_right = sum(map(mul, right, right)) / count - (sum_right / count) ** 2
    if max(spread_left, spread_right) < _FLAT:
        return 1.0
    # Of a picture that has just enough contrast, an encoder may leave a little less.
    if min(spread_left, spread_right) <= 0:
        return 0.0
    common = sum(map(mul, left, right)) / count - sum_left * sum_right / count**2
    return float(common / (spread_left * spread_right) ** 0.5)
