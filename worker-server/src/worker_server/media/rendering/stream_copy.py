"""Renders a part by stream copy: only the edges of a suitable source are encoded."""

from pathlib import Path
from typing import Literal

from worker_server.media.model import colour
from worker_server.media.model.edit import PartEdit
from worker_server.media.model.source import Preparation
from worker_server.media.rendering.render_child import child_command

_CHILD = "worker_server.media.rendering.stream_copy_child"
# Sources in other containers were remuxed into Matroska by `prepare`.
_DEMUXERS = {"mov", "matroska"}


class StreamCopyRenderer:
    """Copies the source's coded pictures; encodes only the bumpers and the part's edges."""

    rendered_by: Literal["copy"] = "copy"
    conceals = False

    def __init__(self, ffmpeg_path: str) -> None:
        self.ffmpeg_path = Path(ffmpeg_path)

    def can_render(self, edit: PartEdit) -> bool:
        """Return whether the clip shows the source's pictures unchanged, so they can be copied."""
        source = edit.source
        return (
            source.demuxer in _DEMUXERS
            # Normalized pictures have many bytes, and none of the quality that was requested.
            and source.preparation is not Preparation.NORMALIZE
            and source.video_codec == "h264"
            and source.pix_fmt == "yuv420p"
            and not colour.needs_conversion(source)
            and not source.interlaced
            and not source.is_vfr
            and source.rotation == 0
            and not source.mirrored
            and source.sample_aspect == 1
            and edit.brand.watermark is None
            and edit.kept == (source.width, source.height, 0, 0)
            and edit.content == (source.width, source.height, 0, 0)
            and edit.fills_frame  # a bar of two pixels is right or below: nothing is shifted
        )

    def command(self, edit: PartEdit, output: Path) -> list[str]:
        """Return the command; it declines where the H.264 stream itself cannot be cut exactly."""
        return child_command(_CHILD, edit, output, self.ffmpeg_path)
