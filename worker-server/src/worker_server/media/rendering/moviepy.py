"""Renders a part with MoviePy, in a process of its own."""

from pathlib import Path
from typing import Literal

from worker_server.media.model.edit import PartEdit
from worker_server.media.rendering.render_child import child_command

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
        return child_command(_CHILD, edit, output, self.ffmpeg_path)
