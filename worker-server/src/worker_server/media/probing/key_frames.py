"""The key frames of a source, and how its container seeks to them."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
from av import VideoStream
from av.container import InputContainer

from worker_server.media.model.frame_grid import SEEK_OFFSET_FRAMES


@dataclass
class KeyFrames:
    """The key frames of a video, by its packets."""

    last_ticks: tuple[int, ...] = ()  # timestamps of the last two key frames
    reorder_ticks: set[int] = field(default_factory=set)  # PTS minus DTS

    def add(self, tick: int, reorder_ticks: int) -> None:
        self.last_ticks = (*self.last_ticks[-1:], tick)
        if len(self.reorder_ticks) < 2:  # one value or several is all that matters
            self.reorder_ticks.add(reorder_ticks)

    def reorder_delay_s(
        self, container: InputContainer, video: VideoStream, rate: Fraction
    ) -> Fraction | None:
        """Return PTS minus DTS of the key frames if seeking finds each by its PTS; else None.

        Tries seeks to the last two. Some demuxers seek by PTS, some by DTS; where both differ by
        the same for all key frames, what holds for one holds for all. Moves the read position.
        """
        if len(self.last_ticks) < 2 or len(self.reorder_ticks) != 1 or video.time_base is None:
            return None
        before, last = self.last_ticks
        aims = ((last, last), (last - 1 / rate / video.time_base, before))
        for aim, wanted in aims:
            first = _first_after_seek(container, video, Fraction(aim * video.time_base), rate)
            if first is None or first.pts != wanted:
                return None
        return next(iter(self.reorder_ticks)) * video.time_base


def index_is_right(container: InputContainer, video: VideoStream, tick: int) -> bool:
    """Return whether a seek to the picture at this PTS finds a key frame.

    An MP4 without `stss` calls all pictures key frames. Moves the read position.
    """
    rate = video.average_rate or Fraction(1)
    first = _first_after_seek(container, video, tick * (video.time_base or Fraction(1)), rate)
    return first is None or first.is_keyframe


def _first_after_seek(
    container: InputContainer, video: VideoStream, at_s: Fraction, rate: Fraction
) -> "av.Packet[Any] | None":
    """Return the first packet after a seek to a frame; None where seeking fails."""
    try:
        container.seek(int((at_s + SEEK_OFFSET_FRAMES / rate) * av.time_base))
        return next((packet for packet in container.demux(video) if packet.pts is not None), None)
    except av.error.FFmpegError:
        return None
