"""The one interface of the renderers, and how one is picked."""

from pathlib import Path
from typing import Protocol

from worker_server.media.model.edit import PartEdit
from worker_server.media.rendering.ffmpeg import FfmpegRenderer
from worker_server.media.rendering.moviepy import MoviePyRenderer


class Renderer(Protocol):
    """Says how a clip is made; `run_encoder` makes it."""

    def command(self, edit: PartEdit, output: Path) -> list[str]:
        """Return the command that writes the clip and prints ffmpeg's progress lines on standard output."""
        ...


def renderer(name: str, ffmpeg_path: str) -> Renderer:
    """Return the renderer called `ffmpeg` or `moviepy`. Raise ValueError for any other name."""
    if name == "ffmpeg":
        return FfmpegRenderer(ffmpeg_path)
    if name == "moviepy":
        return MoviePyRenderer(ffmpeg_path)
    raise ValueError(f"there is no renderer called {name!r}")
