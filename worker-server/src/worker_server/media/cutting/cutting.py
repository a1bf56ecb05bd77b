"""Plans parts whose ends depend on what is in the source: key frames, silence, scene changes."""

import json
import math
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from worker_server.errors import FailureCode
from worker_server.media.errors import EditError, EncodeFailed
from worker_server.media.model.plan import (
    Cut,
    FrameRange,
    PlannedClip,
    TimeRange,
    frames_of,
    plan_clips,
)
from worker_server.media.model.source import Preparation, Source
from worker_server.media.probing.prepare import PrepareWatch
from worker_server.media.process.child import MAX_RESPONSE_BYTES, ChildFiles

_CHILD = "worker_server.media.cutting.cutting_child"


class _NoCuts:
    """Finds nothing, so that parts end at the limit."""

    earliest = Fraction(0)

    def find(self, low: int, high: int) -> int | None:  # noqa: ARG002 # required by `CutFinder`
        return None


def plan_cuts(
    source: Source,
    path: Path,
    time_ranges: Sequence[TimeRange],
    part_s: Fraction,
    cut: Cut,
    watch: PrepareWatch,
) -> list[PlannedClip]:
    """Return the parts of each time range, in order; each of its frames is in exactly one of them.

    A sandboxed child reads the source, except where there is nothing to find in it. Raise
    EditError, EncodeFailed or Stopped.
    """
    if cut is Cut.EXACT:
        return plan_clips(source, time_ranges, part_s)
    if not _may_find(cut, source):
        return plan_clips(source, time_ranges, part_s, _NoCuts())
    output = path.with_name(f"{path.name}.cuts")
    payload = {
        "source": source.to_json(),
        "path": str(path.absolute()),
        "time_ranges": [time_range.to_json() for time_range in time_ranges],
        "part_s": str(part_s),
        "cut": cut,
        "output": str(output.absolute()),
    }
    command = [sys.executable, "-I", "-m", _CHILD, json.dumps(payload)]
    total_frames = sum(_length(source, time_range) for time_range in time_ranges)
    try:
        watch.run(command, total_frames, output, ChildFiles((path,), (output,)))
        answer = _read(output)
    finally:
        output.unlink(missing_ok=True)
    if "error" in answer:
        raise EditError(answer["error"]["code"], answer["error"]["message"])
    try:
        return _validated_clips(source, time_ranges, part_s, answer["parts"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _invalid_reply(error) from error


def _may_find(cut: Cut, source: Source) -> bool:
    """Return whether the source may have what `cut` looks for.

    Key frames of a normalized source are not its own: they are there for seeking, a second apart.
    """
    if cut is Cut.KEYFRAME:
        return source.preparation is not Preparation.NORMALIZE
    return cut is not Cut.SILENCE or source.has_audio


def _length(source: Source, time_range: TimeRange) -> int:
    first, end = frames_of(source, time_range)
    return end - first


def _read(output: Path) -> dict[str, Any]:
    with output.open("rb") as file:
        content = file.read(MAX_RESPONSE_BYTES + 1)
    if len(content) > MAX_RESPONSE_BYTES:
        raise _invalid_reply(ValueError("the answer is too long"))
    try:
        answer: dict[str, Any] = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _invalid_reply(error) from error
    return answer


def _invalid_reply(error: Exception) -> EncodeFailed:
    message = "The ends of the parts could not be determined."
    detail = f"{type(error).__name__}: {error}"
    return EncodeFailed(FailureCode.ENCODER_FAILED, message, retryable=True, stderr_tail=detail)


def _validated_clips(
    source: Source,
    time_ranges: Sequence[TimeRange],
    part_s: Fraction,
    candidates: Sequence[Sequence[int]],
) -> list[PlannedClip]:
    """Check the child's parts and return them as clips; raise ValueError or IndexError.

    A hostile source may have taken over the child, and so may have written any answer.
    """
    longest = max(1, math.floor(part_s * source.frame_rate))
    clips: list[PlannedClip] = []
    for index, time_range in enumerate(time_ranges):
        at, last = frames_of(source, time_range)
        while at < last:
            start, end, of = candidates[len(clips)]
            if (of, start) != (index, at) or not 0 < end - start <= longest or end > last:
                raise ValueError(f"part {len(clips)} is {start} … {end} of time range {of}")
            clips.append(PlannedClip(FrameRange(len(clips), start, end, source.frame_rate), index))
            at = end
    if len(candidates) > len(clips):
        raise ValueError(f"{len(candidates)} parts instead of {len(clips)}")
    return clips
