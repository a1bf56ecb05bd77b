"""Reads a brand's videos for MoviePy: MP4 files that `normalize` has encoded, H.264 and AAC."""

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av import AudioResampler, VideoFrame

from worker_server.media.model.brand import Bumper
from worker_server.media.model.containers import open_source
from worker_server.media.model.edit import AUDIO_RATE, PartEdit
from worker_server.media.model.frame_grid import frame_index
from worker_server.media.rendering.moviepy_reader import RgbPicture, Sound


class BumperFrames:
    """The pictures of a video on a clip's grid, fitted into its frame; to be read in order."""

    def __init__(self, bumper: Bumper, edit: PartEdit) -> None:
        self._edit = edit
        self._frames = self._decoded(bumper)
        self._next: VideoFrame | None = next(self._frames, None)
        self._shown: RgbPicture | None = None

    def picture(self, number: int) -> RgbPicture:
        """Return the last picture at or before this frame of the grid."""
        shown = None
        while self._next is not None and self._frame_of(self._next) <= number:
            shown, self._next = self._next, next(self._frames, None)
        if shown is not None or self._shown is None:
            self._shown = self._fitted(shown)
        return self._shown

    def _decoded(self, bumper: Bumper) -> Iterator[VideoFrame]:
        with open_source(bumper.path, "mov") as container:
            container.streams.video[0].codec_context.thread_count = 1
            yield from container.decode(video=0)

    def _frame_of(self, picture: VideoFrame) -> int:
        at_s = (picture.pts or 0) * Fraction(picture.time_base or 1)
        return frame_index(at_s, self._edit.frame_rate)

    def _fitted(self, picture: VideoFrame | None) -> RgbPicture:
        edit = self._edit
        colour = np.frombuffer(edit.brand.background_rgb, np.uint8)
        frame = np.tile(colour, (edit.height, edit.width, 1))
        if picture is None:
            return frame
        scale = min(Fraction(edit.width, picture.width), Fraction(edit.height, picture.height))
        width, height = (
            max(2, int(side * scale + Fraction(1, 2)) // 2 * 2)
            for side in (picture.width, picture.height)
        )
        rgb = picture.reformat(width, height, "rgb24", src_colorspace="ITU709").to_ndarray()
        top, left = (edit.height - height) // 2, (edit.width - width) // 2
        frame[top : top + height, left : left + width] = rgb
        return frame


def bumper_sound(bumper: Bumper) -> Sound:
    """Return all of the video's sound, as 48 kHz stereo."""
    resampler = AudioResampler(format="flt", layout="stereo", rate=AUDIO_RATE)
    samples: list[Sound] = []
    with open_source(bumper.path, "mov") as container:
        for frame in container.decode(audio=0):
            samples += [_samples(each) for each in resampler.resample(frame)]
    samples += [_samples(each) for each in resampler.resample(None)]
    return np.concatenate(samples) if samples else np.zeros((0, 2), np.float32)


def _samples(frame: av.AudioFrame) -> Sound:
    return frame.to_ndarray().reshape(-1, 2).astype(np.float32)
