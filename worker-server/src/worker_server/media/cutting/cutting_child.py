"""Finds where parts end by reading the source. Run by `cutting.plan_cuts`, in the sandbox.

Writes JSON to the payload's `output`: `{"parts": [[start frame, end frame, time range], …]}`, or
`{"error": …}` for an EditError.
"""

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av.logging
from av.container import InputContainer

from worker_server.media.cutting.key_frame_cuts import KeyFrameCuts, key_frames
from worker_server.media.cutting.progress import ProgressReporter
from worker_server.media.cutting.quiet_cuts import QuietCuts
from worker_server.media.cutting.scene_cuts import SceneCuts
from worker_server.media.errors import EditError
from worker_server.media.model.containers import open_source
from worker_server.media.model.plan import Cut, CutFinder, TimeRange, plan_clips
from worker_server.media.model.source import Source


def find_cuts(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the answer for `plan_cuts`: the parts of the source, or why there are none."""
    source = Source.from_json(payload["source"])
    time_ranges = [TimeRange.from_json(each) for each in payload["time_ranges"]]
    with open_source(Path(payload["path"]), source.demuxer) as container:
        finder = _finder(Cut(payload["cut"]), container, source, ProgressReporter())
        try:
            clips = plan_clips(source, time_ranges, Fraction(payload["part_s"]), finder)
        except EditError as error:
            return {"error": {"code": error.code, "message": error.message}}
    parts = [[clip.part.start_frame, clip.part.end_frame, clip.time_range] for clip in clips]
    return {"parts": parts}


def _finder(
    cut: Cut, container: InputContainer, source: Source, progress: ProgressReporter
) -> CutFinder:
    if cut is Cut.KEYFRAME:
        return KeyFrameCuts(key_frames(container, source, progress))
    if cut is Cut.SILENCE:
        return QuietCuts(container, source, progress)
    return SceneCuts(container, source, progress)


def main() -> None:
    av.logging.set_level(None)
    payload = json.loads(sys.argv[1])
    Path(payload["output"]).write_text(json.dumps(find_cuts(payload)))


if __name__ == "__main__":
    main()
