"""Cuts a source into parts, on whole frames."""

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from worker_server.media.model.json_value import JsonValue
from worker_server.media.model.source import Source

_MIN_REMAINDER_S = Fraction(1)


@dataclass(frozen=True)
class FrameRange(JsonValue):
    """The source's frames from `start_frame` up to, not including, `end_frame`, from 0."""

    number: int
    start_frame: int
    end_frame: int
    frame_rate: Fraction

    @property
    def frame_count(self) -> int:
        return self.end_frame - self.start_frame

    @property
    def start_s(self) -> float:
        """Where the part begins, in seconds from the source's first frame."""
        return float(self.start_frame / self.frame_rate)

    @property
    def end_s(self) -> float:
        return float(self.end_frame / self.frame_rate)


def plan_parts(source: Source, part_s: int = 20) -> list[FrameRange]:
    """Return the parts of a source, in order; each frame of the grid is in exactly one of them.

    Frame k belongs to the part with `part_s * n <= k / rate < part_s * (n + 1)`. A remainder
    shorter than a second is shared with the part before it, half and half.
    """
    rate, frames = source.frame_rate, source.frame_count
    cuts = [0]
    while (cut := math.ceil(len(cuts) * part_s * rate)) < frames:
        cuts.append(cut)
    least_s = min(_MIN_REMAINDER_S, Fraction(part_s, 2))
    if len(cuts) > 1 and (frames - cuts[-1]) / rate < least_s:
        cuts[-1] = (cuts[-2] + frames + 1) // 2
    cuts.append(frames)
    return [
        FrameRange(number, start, end, rate) for number, (start, end) in enumerate(pairwise(cuts))
    ]
