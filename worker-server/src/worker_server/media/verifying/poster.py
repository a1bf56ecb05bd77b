"""Makes the poster of a clip: one picture of its content as JPEG, decoded from few frames."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av import VideoFrame
from av.container import InputContainer

from worker_server.media.model.containers import open_source
from worker_server.media.model.edit import PartEdit
from worker_server.media.model.frame_grid import SEEK_OFFSET_FRAMES, frame_index
from worker_server.media.verifying.filters import filtered

MAX_WIDTH = 640
_JPEG_SCALE = 4  # ffmpeg's -q:v scale, 2 (best) to 31
# How many key frames are decoded at most, until one has contrast.
_CANDIDATES = 3
_MIN_CONTRAST = 100  # variance of 8-bit brightness


def poster(path: Path, clip_keys: Sequence[int], edit: PartEdit) -> bytes | None:
    """Return a picture of the clip as JPEG, at most MAX_WIDTH wide; None where none can be made.

    `clip_keys` are the clip's key frames by their index in it. The picture is that of a key frame
    between the bumpers, the one nearest the middle first, so that one frame is decoded.
    """
    try:
        with open_source(path, "mov") as clip:
            clip.streams.video[0].codec_context.thread_count = 1
            pictures = [_scaled(picture) for picture in _candidates(clip, clip_keys, edit)]
            return _jpeg(max(pictures, key=_contrast)) if pictures else None
    except (av.error.FFmpegError, ValueError):
        return None  # a poster is optional


def _candidates(
    clip: InputContainer, clip_keys: Sequence[int], edit: PartEdit
) -> Iterator[VideoFrame]:
    """Yield pictures until one has contrast: key frames, or the first picture and the middle one.

    x264 writes a key frame at least every 250 frames, and in shorter content often only the first.
    """
    first, end = edit.frames_before, edit.frames_before + edit.part.frame_count
    middle = (first + end) // 2
    inside = sorted((key for key in clip_keys if first <= key < end), key=lambda k: abs(k - middle))
    frames = inside[:_CANDIDATES] if len(inside) > 1 else [first, middle]
    for frame in frames:
        picture = _picture(clip, frame, edit.frame_rate)
        if picture is not None:
            yield picture
            if _contrast(picture) >= _MIN_CONTRAST:
                return


def _picture(clip: InputContainer, frame: int, rate: Fraction) -> VideoFrame | None:
    """Return the picture of `frame`, decoded from the key frame before; None if it is not there."""
    stream = clip.streams.video[0]
    context: Any = stream.codec_context
    tick_s = Fraction(stream.time_base or 1)
    clip.seek(int((frame + SEEK_OFFSET_FRAMES) / rate / tick_s), stream=stream)
    decoded = []
    for packet in clip.demux(stream):
        if packet.pts is None:
            break
        decoded += context.decode(packet)
        if frame_index(packet.pts * tick_s, rate) == frame:
            break
    decoded += context.decode(None)
    context.flush_buffers()
    shown = (picture for picture in decoded if picture.pts is not None)
    return next(
        (picture for picture in shown if frame_index(picture.pts * tick_s, rate) == frame), None
    )


def _contrast(picture: VideoFrame) -> float:
    """Return the variance of the brightness of some hundred pixels."""
    plane = picture.planes[0]
    rows, width = memoryview(plane), picture.width
    step_x, step_y = max(1, width // 32), max(1, picture.height // 18)
    values = [
        value
        for top in range(0, picture.height, step_y)
        for value in rows[top * plane.line_size : top * plane.line_size + width : step_x]
    ]
    mean = sum(values) / len(values)
    return sum(value * value for value in values) / len(values) - mean * mean


def _scaled(picture: VideoFrame) -> VideoFrame:
    """Return the picture in a poster's size, in the colours of JPEG: BT.601 in full range."""
    width = min(MAX_WIDTH, picture.width)
    height = 2 * round(width * picture.height / picture.width / 2)
    scale = f"{width}:{height}:flags=bilinear:in_color_matrix=bt709:in_range=limited"
    scale += ":out_color_matrix=bt601:out_range=full"
    return filtered(picture, (("scale", scale), ("format", "yuvj420p")))


def _jpeg(picture: VideoFrame) -> bytes:
    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height = picture.width, picture.height
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 25)
    encoder.options = {"qmin": str(_JPEG_SCALE), "qmax": str(_JPEG_SCALE)}
    encoder.thread_count = 1
    picture.pts = None
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])
