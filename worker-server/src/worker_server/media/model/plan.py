"""Cuts a source into parts, on whole frames."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise
from typing import Protocol

from worker_server.errors import FailureCode
from worker_server.limits import MAX_PARTS
from worker_server.media.errors import EditError
from worker_server.media.model.json_value import JsonValue
from worker_server.media.model.source import Source

_MIN_REMAINDER_S = Fraction(1)
# Callers round times to milliseconds.
_ROUNDING_S = Fraction(1, 2000)


class Cut(StrEnum):
    """Where parts end: at the limit, or at a better place before it."""

    EXACT = "exact"
    KEYFRAME = "keyframe"
    SILENCE = "silence"
    SCENE = "scene"


class CutFinder(Protocol):
    """Finds the frame at which a part should end."""

    earliest: Fraction  # where the search begins, as a share of the longest part

    def find(self, low: int, high: int) -> int | None:
        """Return the best frame from `low` to `high` for the next part to begin, or None.

        `high` is included. Within a time range, calls are in the order of the source.
        """


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


@dataclass(frozen=True)
class TimeRange(JsonValue):
    """A time range of the source, in seconds from its first frame; None: to the source's end."""

    start_s: Fraction = Fraction(0)
    end_s: Fraction | None = None


@dataclass(frozen=True)
class PlannedClip:
    """A part, and the index of the time range that it comes from."""

    part: FrameRange
    time_range: int


def plan_parts(source: Source, part_s: Fraction | int = 20) -> list[FrameRange]:
    """Return the parts of a whole source, in order; each frame of the grid is in one of them."""
    return [clip.part for clip in plan_clips(source, [TimeRange()], part_s)]


def plan_clips(
    source: Source,
    time_ranges: Sequence[TimeRange],
    part_s: Fraction | int,
    finder: CutFinder | None = None,
) -> list[PlannedClip]:
    """Return the parts of each time range, in order; each of its frames is in exactly one of them.

    Parts end where `finder` says, or as near to `part_s` as frames allow. Raise EditError where a
    time range has no frame, or where there would be too many parts.
    """
    clips: list[PlannedClip] = []
    for index, time_range in enumerate(time_ranges):
        for start, end in pairwise(_cuts_of(source, time_range, part_s, finder)):
            part = FrameRange(len(clips), start, end, source.frame_rate)
            clips.append(PlannedClip(part, index))
        if len(clips) > MAX_PARTS:
            raise EditError(
                FailureCode.EDIT_TOO_MANY_PARTS, f"There would be more than {MAX_PARTS} parts."
            )
    return clips


def _cuts_of(
    source: Source, time_range: TimeRange, part_s: Fraction | int, finder: CutFinder | None
) -> list[int]:
    first, end = frames_of(source, time_range)
    if finder is None:
        return _cuts(first, end, source.frame_rate, part_s)
    return _cuts_of_finder(first, end, source.frame_rate, part_s, finder)


def frames_of(source: Source, time_range: TimeRange) -> tuple[int, int]:
    """Return the first frame whose time lies in the time range, and the one after the last.

    Without any, that is the frame on screen when the time range begins. Raise EditError where the
    time range begins after the source's end.
    """
    shown = math.floor((time_range.start_s + _ROUNDING_S) * source.frame_rate)
    if shown >= source.frame_count:
        message = f"The video ends before {float(time_range.start_s):g} s."
        raise EditError(FailureCode.EDIT_BEYOND_END, message)
    first = max(0, _frame_at(time_range.start_s, source))
    end = source.frame_count
    if time_range.end_s is not None:
        end = min(end, _frame_at(time_range.end_s, source))
    return (first, end) if first < end else (shown, shown + 1)


def _frame_at(time_s: Fraction, source: Source) -> int:
    """Return the first frame at or after a time, which may be rounded by half a millisecond."""
    return math.ceil((time_s - _ROUNDING_S) * source.frame_rate)


def _cuts(first: int, end: int, rate: Fraction, part_s: Fraction | int) -> list[int]:
    """Return where parts begin, and the end.

    Frame `first + k` belongs to the part with `part_s * n <= k / rate < part_s * (n + 1)`. A
    remainder shorter than `_min_part_s` is shared with the part before it, half and half.
    """
    cuts = [first]
    while (cut := first + math.ceil(len(cuts) * part_s * rate)) < end:
        cuts.append(cut)
    if len(cuts) > 1 and (end - cuts[-1]) / rate < _min_part_s(part_s):
        cuts[-1] = (cuts[-2] + end + 1) // 2
    return [*cuts, end]


def _cuts_of_finder(
    first: int, end: int, rate: Fraction, part_s: Fraction | int, finder: CutFinder
) -> list[int]:
    """Return where parts begin, and the end; none is longer than `part_s`.

    Neither a part nor the remainder after it is shorter than `_min_part_s`.
    """
    longest = max(1, math.floor(part_s * rate))
    least = max(1, math.ceil(_min_part_s(part_s) * rate))
    cuts = [first]
    while end - cuts[-1] > longest:
        start = cuts[-1]
        low = start + max(least, math.ceil(longest * finder.earliest))
        high = min(start + longest, end - least)
        boundary = finder.find(low, high) if low <= high else None
        if boundary is not None:
            cuts.append(boundary)
        elif high < start + longest:
            cuts.append((start + end + 1) // 2)  # cut in the middle of what remains
        else:
            cuts.append(high)
    return [*cuts, end]


def _min_part_s(part_s: Fraction | int) -> Fraction:
    """Return the shortest part: a second, or half of `part_s`."""
    return min(_MIN_REMAINDER_S, Fraction(part_s) / 2)
