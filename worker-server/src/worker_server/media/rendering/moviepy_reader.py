"""Feeds MoviePy the pictures and the sound of a part, on its frame grid.

MoviePy's own reader counts frames from a nominal rate, which drops and repeats some where the rate
varies or is a fraction. This one uses the time stamp of each frame, as the filter graph does. The
two share no code, except for colours that only zscale reads, so that each can check the other.
"""

import subprocess
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av import AudioResampler, VideoFrame
from av.filter import Graph

from worker_server.media.model import colour, deinterlacing
from worker_server.media.model.containers import open_source, seek_sound
from worker_server.media.model.downmix import Resampler, stereo_resampler
from worker_server.media.model.edit import AUDIO_RATE, MAX_SOUND_DRIFT_S, PartEdit
from worker_server.media.model.frame_grid import frame_index
from worker_server.media.process.child import ChildLimits, guarded
from worker_server.media.rendering.ffmpeg import rgb_command

RgbPicture = npt.NDArray[np.uint8]
Sound = npt.NDArray[np.float32]

# Seek this much before a part: a frame or sound may be stored up to a second from its time.
_MARGIN_S = 1
# Numbers of swscale's own matrices (SWS_CS_*).
_MATRICES = {"bt709": 1, "fcc": 4, "bt601": 5, "smpte240m": 7, "bt2020": 9}
_RANGES = {"limited": 1, "full": 2}


class PartFrames:
    """The upright RGB pictures of a part, by number; to be read in order."""

    def __init__(self, edit: PartEdit, ffmpeg_path: str) -> None:
        # PyAV brings no filter for these conversions, or none that is fast enough.
        self._pictures = (
            _in_bt709(edit, ffmpeg_path) if colour.needs_zimg(edit.source) else _converted(edit)
        )
        self._number = -1
        self._picture: RgbPicture | None = None

    def picture(self, number: int) -> RgbPicture:
        """Return a picture; the last one may be read again, an earlier one may not."""
        while self._picture is None or self._number < number:
            self._picture = next(self._pictures)
            self._number += 1
        if number != self._number:
            raise IndexError(number)
        return self._picture


def part_sound(edit: PartEdit) -> Sound:
    """Return the part's samples at 48 kHz, shape (n, 2), each at its time; silence elsewhere."""
    samples = np.zeros((round(edit.part.frame_count / edit.frame_rate * AUDIO_RATE), 2), np.float32)
    source = edit.source
    if not source.has_audio:
        return samples
    start_s = source.origin_s + edit.part.start_frame / edit.frame_rate
    at: int | None = None
    for at_s, chunk in _sound_from(edit, start_s - _MARGIN_S):
        stamped_sample = round((at_s - start_s) * AUDIO_RATE)
        has_drifted = at is None or abs(stamped_sample - at) > MAX_SOUND_DRIFT_S * AUDIO_RATE
        at = stamped_sample if at is None or has_drifted else at
        if at >= len(samples):
            break
        first, last = max(0, at), max(0, min(len(samples), at + len(chunk)))
        samples[first:last] = chunk[first - at : max(first, last) - at]
        at += len(chunk)
    return samples


def _converted(edit: PartEdit) -> Iterator[RgbPicture]:
    for frame in _part_frames(edit):
        yield _to_rgb(frame, edit)


def _in_bt709(edit: PartEdit, ffmpeg_path: str) -> Iterator[RgbPicture]:
    width, height = edit.source.upright_size
    command = guarded(rgb_command(edit, ffmpeg_path), ChildLimits())
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        while (
            process.stdout
            and len(raw := process.stdout.read(width * height * 3)) == width * height * 3
        ):
            yield np.frombuffer(raw, np.uint8).reshape(height, width, 3)


def _part_frames(edit: PartEdit) -> Iterator[VideoFrame]:
    """Yield the frame on screen at each place of the grid."""
    number, last_frame = edit.part.start_frame, None
    for frame in _decoded(edit):
        if frame.pts is None or frame.time_base is None:
            continue
        frame_place = frame_index(
            frame.pts * frame.time_base - edit.source.origin_s, edit.frame_rate
        )
        while last_frame is not None and number < min(frame_place, edit.part.end_frame):
            yield last_frame
            number += 1
        if number >= edit.part.end_frame:
            return
        last_frame = frame
    while last_frame is not None and number < edit.part.end_frame:
        yield last_frame
        number += 1


def _decoded(edit: PartEdit) -> Iterator[VideoFrame]:
    """Yield frames from a little before the part on."""
    with open_source(edit.source_path, edit.source.demuxer) as container:
        video: Any = container.streams[edit.source.video_index]
        video.codec_context.thread_count = edit.profile.threads
        start_s = min(edit.part.start_frame, edit.last_picture) / edit.frame_rate - _MARGIN_S
        if start_s > edit.source.reorder_delay_s:
            container.seek(int(edit.source.seek_s(start_s) / video.time_base), stream=video)
        frames = container.decode(video)
        yield from _deinterlaced(frames, video) if edit.source.interlaced else frames


def _deinterlaced(frames: Iterator[VideoFrame], video: "av.VideoStream") -> Iterator[VideoFrame]:
    graph = Graph()
    source = graph.add_buffer(template=video)
    bwdif = graph.add(deinterlacing.FILTER, deinterlacing.OPTIONS)
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    for frame in chain(frames, [None]):
        graph.push(frame)
        yield from _pulled(graph)


def _pulled(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        if isinstance(frame, VideoFrame):
            yield frame


def _to_rgb(frame: VideoFrame, edit: PartEdit) -> RgbPicture:
    source, has_alpha = edit.source, colour.has_alpha(edit.source)
    if colour.is_limited_grey(source):  # swscale takes grey for full range: values stay
        frame = frame.reformat(
            format="yuv444p", src_color_range=_RANGES["full"], dst_color_range=_RANGES["full"]
        )
    converted = frame.reformat(
        format="rgba" if has_alpha else "rgb24",
        src_colorspace=_MATRICES[colour.matrix(source)],
        src_color_range=_RANGES[colour.colour_range(source)],
        dst_color_range=_RANGES["full"],
        interpolation="BICUBIC",
    ).to_ndarray()
    picture = converted.astype(np.uint8, copy=False)
    if has_alpha:
        picture = _on_background(picture, edit.brand.background_rgb)
    # A mirroring display matrix is a vertical flip followed by a rotation.
    upright = np.flipud(picture) if source.mirrored else picture
    return np.rot90(upright, source.rotation // 90)


def _on_background(picture: RgbPicture, background: bytes) -> RgbPicture:
    """Return RGB of RGBA, blended with this colour (a byte each) where it is transparent."""
    alpha = picture[:, :, 3:].astype(np.float32) / 255
    behind = np.frombuffer(background, np.uint8).astype(np.float32)
    return np.rint(picture[:, :, :3] * alpha + behind * (1 - alpha)).astype(np.uint8)


def _sound_from(edit: PartEdit, start_s: Fraction) -> Iterator[tuple[Fraction, Sound]]:
    """Yield each decoded piece of sound: its time in the file, and its samples as 48 kHz stereo."""
    with open_source(edit.source_path, edit.source.demuxer) as container:
        audio: Any = container.streams[edit.source.audio_index]
        if edit.part.start_frame:
            seek_sound(container, audio, start_s, edit.source.video_index)
        # Mono is copied to both channels at full level: swresample would lower it by 3 dB.
        is_mono = edit.source.audio_channels == 1
        resampler: Resampler | None = None
        for frame in container.decode(audio):
            if resampler is None:
                resampler = _mono_resampler() if is_mono else stereo_resampler(frame, AUDIO_RATE)
            for resampled in resampler.resample(frame):
                if resampled.pts is not None and resampled.time_base is not None:
                    samples = resampled.to_ndarray().astype(np.float32, copy=False)
                    samples = samples.reshape(-1, 1 if is_mono else 2)
                    yield (
                        resampled.pts * resampled.time_base,
                        np.repeat(samples, 2, axis=1) if is_mono else samples,
                    )


def _mono_resampler() -> AudioResampler:
    return AudioResampler(format="flt", layout="mono", rate=AUDIO_RATE)
