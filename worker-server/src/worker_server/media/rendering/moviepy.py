"""Renders a part with MoviePy, in a process of its own."""

import json
import sys
from pathlib import Path

from worker_server.media.model.edit import PartEdit

_CHILD = "worker_server.media.rendering.moviepy_child"


class MoviePyRenderer:
    """Slower than `FfmpegRenderer`, and the place for effects written in Python."""

    def __init__(self, ffmpeg_path: str) -> None:
        self._ffmpeg = ffmpeg_path

    def command(self, edit: PartEdit, output: Path) -> list[str]:
        """Return the command that writes the clip to `output`; NumPy and MoviePy load in that process only."""
        payload = {"edit": edit.to_json(), "output": str(output.absolute()), "ffmpeg": self._ffmpeg}
        return [sys.executable, "-I", "-m", _CHILD, json.dumps(payload)]
