"""Cuts at key frames: parts that begin with one can be copied whole."""

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av import VideoStream
from av.container import InputContainer

from worker_server.media.cutting.progress import ProgressReporter
from worker_server.media.model.frame_grid import frame_index
from worker_server.media.model.source import Source
from worker_server.media.rendering.h264 import ParameterSets, UnsupportedStream, picture


class KeyFrameCuts:
    """Finds the last key frame up to the limit; for H.264 only IDR pictures."""

    earliest = Fraction(0)

    def __init__(self, frames: Iterator[int]) -> None:
        self._frames = array("q", sorted(set(frames)))

    def find(self, low: int, high: int) -> int | None:
        """Return the last key frame from `low` to `high`, both included; None without one."""
        index = bisect_right(self._frames, high) - 1
        return self._frames[index] if index >= 0 and self._frames[index] >= low else None


def key_frames(
    container: InputContainer, source: Source, progress: ProgressReporter
) -> Iterator[int]:
    """Yield the places of key frames on the source's grid, in the file's order; nothing is decoded.

    In H.264 only IDR pictures count: after any other key frame (an open GOP), pictures may refer to
    frames before it.
    """
    video = container.streams[source.video_index]
    tick_s = video.time_base
    if not isinstance(video, VideoStream) or tick_s is None:
        return
    sets = _parameter_sets(video)
    for packet in container.demux(video):
        if packet.pts is None:
            continue
        frame = frame_index(packet.pts * tick_s - source.origin_s, source.frame_rate)
        progress.reach(frame)
        if packet.is_keyframe and not packet.is_discard and (sets is None or _is_idr(packet, sets)):
            yield frame


def _parameter_sets(video: VideoStream) -> ParameterSets | None:
    if video.codec_context.name != "h264":
        return None
    try:
        return ParameterSets.of(video.codec_context.extradata)
    except UnsupportedStream:
        return None


def _is_idr(packet: "av.Packet[Any]", sets: ParameterSets) -> bool:
    try:
        return picture(bytes(packet), sets)[1]
    except UnsupportedStream:
        return True  # will be encoded instead of copied, so any key frame can start a part
