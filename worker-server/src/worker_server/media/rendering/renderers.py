"""The renderers by name, and in which order they are tried."""

from collections.abc import Callable

from worker_server.media.rendering.ffmpeg import FfmpegRenderer
from worker_server.media.rendering.moviepy import MoviePyRenderer
from worker_server.media.rendering.renderer import Renderer
from worker_server.media.rendering.stream_copy import StreamCopyRenderer

# By name; each takes the path of the ffmpeg program.
RENDERERS: dict[str, Callable[[str], Renderer]] = {
    "copy": StreamCopyRenderer,
    "ffmpeg": FfmpegRenderer,
    "moviepy": MoviePyRenderer,
}


def renderer(name: str, ffmpeg_path: str) -> Renderer:
    """Return the renderer of this name. Raise ValueError for any other name."""
    if name not in RENDERERS:
        raise ValueError(f"there is no renderer called {name!r}")
    return RENDERERS[name](ffmpeg_path)


def renderers(engine: str, ffmpeg_path: str, *, stream_copy: bool) -> list[Renderer]:
    """Return the renderers to try, in order.

    Stream copy comes first where it is wanted, and only before `ffmpeg`: MoviePy is chosen for
    custom effects, which copied pictures would not have. The last renderer conceals damage.
    """
    names = ["copy", engine] if stream_copy and engine == "ffmpeg" else [engine]
    concealing = FfmpegRenderer(ffmpeg_path, conceals=True)
    return [*(renderer(name, ffmpeg_path) for name in names), concealing]
