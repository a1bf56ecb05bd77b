"""Renders a part by copying what need not be encoded anew: most of a source that already is what a clip must be."""

import json
import sys
from pathlib import Path

from worker_server.media.model import colour
from worker_server.media.model.edit import PartEdit

_CHILD = "worker_server.media.rendering.stream_copy_child"
# The others have been rewritten into Matroska by then, or store no order of pictures.
_DEMUXERS = {"mov", "matroska"}


def may_copy(edit: PartEdit) -> bool:
    """Tell whether copying is worth a look: encoding would change nothing about the pictures but their quality."""
    source = edit.source
    return (
        source.demuxer in _DEMUXERS
        and source.video_codec == "h264"
        and source.pix_fmt == "yuv420p"
        and not colour.needs_conversion(source)
        and not source.interlaced
        and not source.is_vfr
        and source.rotation == 0
        and source.sample_aspect == 1
        and (source.width, source.height) == (edit.width, edit.height)
    )


def copy_command(edit: PartEdit, output: Path, ffmpeg_path: str) -> list[str]:
    """Return the command for `run_encoder` that writes the clip to `output`, copying what it can.

    It fails, saying why, where the stream itself turns out not to be fit for it; encode the part then.
    """
    payload = {"edit": edit.to_json(), "output": str(output.absolute()), "ffmpeg": ffmpeg_path}
    return [sys.executable, "-I", "-m", _CHILD, json.dumps(payload)]
