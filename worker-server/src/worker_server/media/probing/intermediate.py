"""The streams of a normalized source: nearly lossless H.264 and lossless sound, in Matroska.

A picture with alpha, which H.264 cannot hold, is FFV1 in RGB: each edit has its own background.

On noisy pictures x264's ultrafast preset at CRF 12 writes 0.7 of FFV1's bytes and 0.6 of those of
lossless H.264, at an SSIM of 0.99 (0.97 where `maxrate` limits it); on pictures without noise it
writes as many bytes as FFV1, at 0.9999 (docs/formats.md). There is a key frame each second.
"""

import json
import sys
from fractions import Fraction
from pathlib import Path

import av
from av import AudioStream, VideoStream
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext

from worker_server.media.model import colour
from worker_server.media.model.edit import AUDIO_RATE
from worker_server.media.model.geometry import frame_size
from worker_server.media.model.source import Source
from worker_server.media.probing.colour_tags import FULL_RANGE

# How long the muxer holds sound back, in memory, for a picture to interleave: 60 s, in microseconds
# (ffmpeg's default is 10 s). Encoders with lookahead deliver pictures of slow recordings late.
MAX_INTERLEAVE_US = "60000000"
_CRF = 12
_MAX_BYTES = 8 * 1024**3  # of the picture; sets `maxrate`
_MIN_BITS_PER_S, _MAX_BITS_PER_S = 4_000_000, 80_000_000
_BT709, _RGB, _LIMITED_RANGE = 1, 0, 1
_MAX_SIDE = 4096  # as of clips; normalizing 8K takes 1.3 GiB, and 1.7 with its own size


def child_command(module: str, source: Source, path: Path, output: Path) -> list[str]:
    """Return the command for `run_encoder` that runs a module, which writes `output`."""
    payload = {
        "source": source.to_json(),
        "path": str(path.absolute()),
        "output": str(output.absolute()),
    }
    return [sys.executable, "-I", "-m", module, json.dumps(payload)]


def open_target(path: Path) -> OutputContainer:
    """Open a Matroska file to be written."""
    options = {"max_interleave_delta": MAX_INTERLEAVE_US}
    return av.open(f"file:{path}", "w", format="matroska", options=options)


def picture_size(source: Source) -> tuple[int, int]:
    """Return the normalized picture size: the source's, upright, or 16:9 where shapes differ.

    Larger pictures are scaled down to sides of at most 4096 pixels.
    """
    if source.varies:
        return frame_size(source, _MAX_SIDE)
    longer = max(source.upright_size)
    width, height = (
        side * _MAX_SIDE // longer if longer > _MAX_SIDE else side for side in source.upright_size
    )
    return max(2, width // 2 * 2), max(2, height // 2 * 2)


def pixel_format(source: Source) -> str:
    """Return the pixel format: ten bits for HDR, which tone mapping needs, else eight."""
    if colour.has_alpha(source):
        return "bgra"
    return "yuv420p10le" if colour.is_hdr(source) else "yuv420p"


def add_video(target: OutputContainer, source: Source) -> VideoStream:
    """Add the picture's stream; its time base is one frame."""
    width, height = picture_size(source)
    keeps_alpha = colour.has_alpha(source)
    stream = target.add_stream("ffv1" if keeps_alpha else "libx264", rate=source.frame_rate)
    stream.width, stream.height, stream.pix_fmt = width, height, pixel_format(source)
    context = stream.codec_context
    context.time_base = 1 / source.frame_rate
    if not source.varies:
        context.sample_aspect_ratio = source.upright_aspect
    context.colorspace, context.color_primaries, context.color_trc = colours(source)
    context.color_range = FULL_RANGE if keeps_alpha else _LIMITED_RANGE
    if keeps_alpha:
        context.gop_size = 1
    else:
        _set_h264(context, source)
    return stream


def _set_h264(context: VideoCodecContext, source: Source) -> None:
    context.gop_size = max(1, round(source.frame_rate))
    context.max_b_frames = 0
    budget = int(_MAX_BYTES * 8 / max(source.duration_s, Fraction(1)))
    most = min(_MAX_BITS_PER_S, max(_MIN_BITS_PER_S, budget))
    context.options = {
        "preset": "ultrafast",
        "crf": str(_CRF),
        "maxrate": str(most),
        "bufsize": str(2 * most),
    }


def colours(source: Source) -> tuple[int, int, int]:
    """Return matrix, primaries and transfer of the normalized picture.

    Colours that PyAV's filters cannot convert, such as HDR, stay as they are.
    """
    if colour.has_alpha(source):
        return _RGB, _BT709, _BT709
    if colour.needs_zimg(source):
        return source.colour_matrix, source.colour_primaries, source.colour_transfer
    return _BT709, _BT709, _BT709


def add_sound(target: OutputContainer) -> AudioStream:
    """Add the sound's stream; its time base is one sample."""
    stream = target.add_stream("flac", rate=AUDIO_RATE)
    stream.codec_context.layout = "stereo"
    stream.codec_context.format = "s16"
    stream.codec_context.time_base = Fraction(1, AUDIO_RATE)
    return stream
