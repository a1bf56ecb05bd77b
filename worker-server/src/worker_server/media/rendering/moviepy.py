"""Renders a part with MoviePy, in a process of its own."""

import json
import sys
from pathlib import Path
from typing import Literal

from worker_server.media.model.edit import PartEdit

_CHILD = "worker_server.media.rendering.moviepy_child"


class MoviePyRenderer:
    """Slower than `FfmpegRenderer`, and the place for effects written in Python."""

    rendered_by: Literal["encode"] = "encode"
    conceals = False

    def __init__(self, ffmpeg_path: str) -> None:
        self.ffmpeg_path = Path(ffmpeg_path)

    def can_render(self, edit: PartEdit) -> bool:  # noqa: ARG002 # required by `Renderer`
        """Return true: MoviePy renders any edit."""
        return True

    def command(self, edit: PartEdit, output: Path) -> list[str]:
        """Return the command that writes the clip; NumPy and MoviePy load in that process only."""
        payload = {
            "edit": edit.to_json(),
            "output": str(output.absolute()),
            "ffmpeg": str(self.ffmpeg_path),
        }
        return [sys.executable, "-I", "-m", _CHILD, json.dumps(payload)]
