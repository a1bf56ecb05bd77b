"""Cuts at scene changes: the clearest one of a range of frames, found in small pictures."""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise, takewhile

import av
import numpy as np
from av import VideoFrame, VideoStream
from av.container import InputContainer
from numpy.typing import NDArray

from worker_server.media.cutting.progress import ProgressReporter
from worker_server.media.model.frame_grid import frame_index
from worker_server.media.model.source import Source

_WIDTH, _HEIGHT = 48, 27
# Mean absolute difference of two pictures, as a share of full range. A cut between two shots gives
# 0.1 and more; motion and noise give less, and about the same at each frame, so the difference
# before is subtracted, as in ffmpeg's scdet (https://ffmpeg.org/ffmpeg-filters.html#scdet-1).
_MIN_CHANGE = 0.05
# A photographer's flash, or a lost picture, lasts no longer; then the picture is as before: it
# differs by less than this share of the change.
_FLASH_S, _ALIKE = Fraction(1, 8), 0.5
_THREADS = 2
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
_FRAMES_BEFORE = 2  # to judge a frame takes its own difference and that of the frame before

Picture = NDArray[np.int16]


class SceneCuts:
    """Finds the clearest change from one picture to the next in the last quarter of a part."""

    earliest = Fraction(3, 4)

    def __init__(
        self, container: InputContainer, source: Source, progress: ProgressReporter
    ) -> None:
        self._container, self._source, self._progress = container, source, progress
        video = container.streams[source.video_index]
        if isinstance(video, VideoStream):
            video.codec_context.thread_type = "AUTO"
            video.codec_context.thread_count = _THREADS
        self._video = video

    def find(self, low: int, high: int) -> int | None:
        """Return the frame of `low` … `high` that differs most from the one before it.

        None where no change is clear.
        """
        best, most, moved = None, _MIN_CHANGE, 0.0
        flash = max(1, int(_FLASH_S * self._source.frame_rate))
        shown = [*self._pictures(low - _FRAMES_BEFORE - flash, high + flash)]
        for number, ((at, before), (frame, picture)) in enumerate(pairwise(shown), 1):
            if frame > high:
                break
            if frame > at + 1:
                moved = 0.0  # the places in between repeat a picture, so there is no motion
            change = _difference(picture, before)
            is_clear = frame >= low and change - moved > most
            if is_clear and not _is_flash(shown, number, flash):
                best, most = frame, change - moved
            moved = change
        return best

    def _pictures(self, first: int, last: int) -> Iterator[tuple[int, Picture]]:
        """Yield the small pictures of frames `first` … `last`, by their places on the grid.

        The last picture before `first` comes before them, as it may still be on screen.
        """
        source, tick_s = self._source, self._video.time_base or Fraction(1)
        start_s = source.seek_s(first / source.frame_rate)
        self._container.seek(math.floor(start_s / tick_s), stream=self._video)
        on_screen: tuple[int, VideoFrame] | None = None
        for frame in self._frames():
            if frame.pts is None:
                continue
            place = frame_index(frame.pts * tick_s - source.origin_s, source.frame_rate)
            self._progress.reach(place)
            if place > last:
                return
            if place < first:
                on_screen = place, frame
                continue
            if on_screen is not None:
                yield on_screen[0], _small(on_screen[1])
                on_screen = None
            yield place, _small(frame)

    def _frames(self) -> Iterator[VideoFrame]:
        for packet in self._container.demux(self._video):
            with suppress(av.error.FFmpegError):  # skip damaged packets, decode those after them
                for frame in packet.decode():
                    if isinstance(frame, VideoFrame):
                        yield frame


def _is_flash(shown: Sequence[tuple[int, Picture]], number: int, flash: int) -> bool:
    """Return whether a change is the beginning or the end of something shown very shortly.

    Up to `flash` frames after the change the picture is as before it, or the picture is as it was
    up to `flash` frames before.
    """
    before, (frame, picture) = shown[number - 1][1], shown[number]
    alike = _difference(picture, before) * _ALIKE
    later = takewhile(lambda each: each[0] <= frame + flash, shown[number + 1 :])
    if any(_difference(after, before) < alike for _, after in later):
        return True
    # Each with the one that followed it: it was on screen until then.
    earlier = pairwise(reversed(shown[:number]))
    recent = takewhile(lambda pair: pair[0][0] >= frame - flash, earlier)
    return any(_difference(picture, previous) < alike for _, (_, previous) in recent)


def _difference(picture: Picture, other: Picture) -> float:
    """Return the mean absolute difference, as a share of full range."""
    return float(np.abs(picture - other).mean()) / 255


def _small(frame: VideoFrame) -> Picture:
    """Return the colours of the picture in a few pixels, of any format, size and shape."""
    # Hide the matrix from swscale, which rejects some: only differences of colours matter here.
    frame.colorspace = _UNSPECIFIED
    return frame.to_ndarray(width=_WIDTH, height=_HEIGHT, format="rgb24").astype(np.int16)
