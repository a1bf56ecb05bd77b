"""Compares pictures of a clip with those of its source as a player shows them.

Only key frames of the source are decoded, and of the clip what leads to them. It shares no code
with the renderers: the display matrix is applied here by its definition.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from operator import mul
from typing import Any

import av
from av import VideoFrame, VideoStream
from av.container import InputContainer
from av.filter import Graph

from worker_server.media.model import colour
from worker_server.media.model.edit import PartEdit
from worker_server.media.model.frame_grid import AIM_FRAMES, frame_index
from worker_server.media.model.geometry import crop_box

_WIDTH, _HEIGHT = 32, 18  # of a thumbnail
# Correlation does not mind a shift of brightness or colour; noise, saturated colours and low
# quality leave 0.96 of it. A picture that is as like its mirror image is judged by which one is
# more like it.
_LEAST_LIKENESS = 0.8
_MIRROR_MARGIN = 0.02
_FLAT = 16.0  # variance of 8-bit values in a picture without contrast
_NEAR_FRAMES = 2  # a key frame of the clip so near costs nothing


def is_comparable(edit: PartEdit) -> bool:
    """Tell whether pictures must be the same: deinterlacing and tone mapping change them."""
    return not edit.source.interlaced and not colour.is_hdr(edit.source)


def differing_frames(
    source: InputContainer, clip: InputContainer, clip_keys: Sequence[int], edit: PartEdit
) -> list[int]:
    """Return the frames of the part, of those compared, whose picture in the clip is another.

    `clip_keys` are the clip's key frames, sorted, by their index in the clip. Compared are the
    part's first key frame in the source, the one near its middle and the last; where the clip has
    no key frame there, only the cheapest of them.
    """
    clip.streams.video[0].codec_context.thread_count = 1
    shown = dict(_key_pictures(source, edit))
    distances = {
        frame: _distance(frame + edit.bumper_frames, clip_keys) for frame in _relative(shown, edit)
    }
    near = [frame for frame, distance in distances.items() if distance <= _NEAR_FRAMES]
    frames = near or sorted(distances, key=lambda frame: distances[frame])[:1]
    return [
        frame
        for frame in frames
        if _differs(clip, shown[frame + edit.part.start_frame], frame, edit)
    ]


def _relative(shown: dict[int, bytes], edit: PartEdit) -> list[int]:
    return [frame - edit.part.start_frame for frame in shown]


def _distance(frame: int, keys: Sequence[int]) -> int:
    """Return how many frames of the clip are decoded before this one."""
    return min((frame - key for key in keys if key <= frame), default=frame)


def _key_pictures(container: InputContainer, edit: PartEdit) -> Iterator[tuple[int, bytes]]:
    """Yield index on the source's grid and thumbnail of key frames in the part."""
    video: Any = container.streams[edit.source.video_index]
    video.codec_context.thread_count = 1
    part = edit.part
    seen: set[int] = set()
    for target in (part.start_frame, (part.start_frame + part.end_frame) // 2, part.end_frame - 1):
        aim_s = edit.source.origin_s + (target + AIM_FRAMES) / edit.frame_rate
        container.seek(int(aim_s / video.time_base), stream=video)
        for packet in container.demux(video):
            if packet.pts is None:
                break
            frame = frame_index(
                packet.pts * packet.time_base - edit.source.origin_s, edit.frame_rate
            )
            if frame >= part.end_frame:
                break
            if packet.is_keyframe and frame >= part.start_frame:
                if frame not in seen and (picture := _decoded_alone(video, packet)):
                    seen.add(frame)
                    yield frame, _upright_thumbnail(picture, edit)
                break


def _decoded_alone(video: VideoStream, packet: "av.Packet[Any]") -> VideoFrame | None:
    """Decode a key frame without the packets after it."""
    frames = [*video.codec_context.decode(packet), *video.codec_context.decode(None)]
    video.codec_context.flush_buffers()
    return frames[0] if len(frames) == 1 else None


def _differs(clip: InputContainer, shown: bytes, frame: int, edit: PartEdit) -> bool:
    """Tell whether the clip shows another picture; one beside it will do where the rate varies."""
    margin = 1 if edit.source.is_vfr else 0
    first = frame + edit.bumper_frames - margin
    pictures = list(_clip_pictures(clip, first, 2 * margin + 1, edit))
    likeness = max((_likeness(shown, picture) for picture in pictures), default=0.0)
    mirrored = [
        _likeness(image, picture) for image in _mirror_images(shown) for picture in pictures
    ]
    return likeness < max(_LEAST_LIKENESS, max(mirrored, default=0.0) - _MIRROR_MARGIN)


def _mirror_images(thumbnail: bytes) -> Iterator[bytes]:
    """Yield a thumbnail upside down, mirrored, and rotated by 180 degrees."""
    pixels = [thumbnail[start : start + 3] for start in range(0, len(thumbnail), 3)]
    rows = [pixels[start : start + _WIDTH] for start in range(0, len(pixels), _WIDTH)]
    yield b"".join(pixel for row in reversed(rows) for pixel in row)
    yield b"".join(pixel for row in rows for pixel in reversed(row))
    yield b"".join(reversed(pixels))


def _clip_pictures(clip: InputContainer, first: int, count: int, edit: PartEdit) -> Iterator[bytes]:
    """Yield the thumbnails of so many frames of the clip."""
    video: Any = clip.streams.video[0]
    clip.seek(int(max(0, first) / edit.frame_rate / video.time_base), stream=video)
    scale = f"{_WIDTH}:{_HEIGHT}:flags=area:in_color_matrix=bt709:in_range=limited"
    for picture in clip.decode(video):
        index = frame_index(Fraction(picture.pts) * picture.time_base, edit.frame_rate)
        if index >= first + count:
            return
        if index >= first:
            yield _filtered(picture, [("scale", scale)])


def _upright_thumbnail(picture: VideoFrame, edit: PartEdit) -> bytes:
    width, height, left, top = crop_box(edit.source)
    matrix, levels = colour.matrix(edit.source), colour.colour_range(edit.source)
    scale = f"{_WIDTH}:{_HEIGHT}:flags=area:in_color_matrix={matrix}:in_range={levels}"
    filters = [*_orientation(picture), ("crop", f"{width}:{height}:{left}:{top}:exact=1")]
    return _filtered(picture, [*filters, ("scale", scale)])


def _orientation(picture: VideoFrame) -> Iterator[tuple[str, str]]:
    """Yield the filters of a display matrix: x'=ax+cy, y'=bx+dy (ISO/IEC 14496-12, 6.2.2)."""
    data: Any = picture.side_data.get("DISPLAYMATRIX")
    if data is None:
        return
    a, b, _, c, d, *_ = struct.unpack("9i", bytes(data)[:36])
    if a and b:  # no right angle
        yield "rotate", f"{math.atan2(b, a):.6f}"
        return
    swaps = abs(b) > abs(a)
    if swaps:
        yield "transpose", "cclock_flip"  # x' = y, y' = x
    if (c if swaps else a) < 0:
        yield "hflip", ""
    if (b if swaps else d) < 0:
        yield "vflip", ""


def _filtered(picture: VideoFrame, filters: Sequence[tuple[str, str]]) -> bytes:
    """Return the packed RGB values of a picture behind filters that end in a thumbnail."""
    graph = Graph()
    last = graph.add_buffer(
        width=picture.width,
        height=picture.height,
        format=picture.format,
        time_base=Fraction(1, 1000),
    )
    for name, arguments in (*filters, ("format", "rgb24"), ("buffersink", "")):
        added = graph.add(name, arguments or None)
        last.link_to(added)
        last = added
    graph.configure()
    graph.push(picture)
    thumbnail = graph.vpull()
    plane = thumbnail.planes[0]
    rows, row_bytes = bytes(plane), 3 * _WIDTH
    starts = range(0, plane.line_size * _HEIGHT, plane.line_size)
    return b"".join(rows[start : start + row_bytes] for start in starts)


def _likeness(one: bytes, other: bytes) -> float:
    """Return Pearson's correlation of two thumbnails; 1 where neither has any contrast."""
    count, sum_one, sum_other = len(one), sum(one), sum(other)
    spread_one = sum(map(mul, one, one)) / count - (sum_one / count) ** 2
    spread_other = sum(map(mul, other, other)) / count - (sum_other / count) ** 2
    if max(spread_one, spread_other) < _FLAT:
        return 1.0
    if min(spread_one, spread_other) < _FLAT:
        return 0.0
    common = sum(map(mul, one, other)) / count - sum_one * sum_other / count**2
    return float(common / (spread_one * spread_other) ** 0.5)
