"""Remuxes a source whose container cannot be seeked exactly."""

import json
import sys
from pathlib import Path

from worker_server.media.model.source import Source
from worker_server.media.probing.intermediate import MAX_INTERLEAVE_US, child_command
from worker_server.media.process.ffmpeg_command import PROGRESS, local_input, quiet_ffmpeg

# AVI stores no PTS, and for these codecs libavformat cannot derive them.
_REORDERING_CODECS = {"h264", "hevc"}
_CHILD = "worker_server.media.probing.remux_child"
_FRAGMENTS_CHILD = "worker_server.media.probing.remux_fragments_child"


def remux_command(source: Source, path: Path, output: Path, ffmpeg_path: str) -> list[str]:
    """Return the command for `run_encoder` that writes both streams into a Matroska file.

    Probe the result: the source facts of the original do not apply to it.
    """
    if source.demuxer == "avi" and source.video_codec in _REORDERING_CODECS:
        return child_command(_CHILD, source, path, output)
    read = [
        *quiet_ffmpeg(ffmpeg_path),
        *PROGRESS,
        *local_input(path, source.demuxer, "-fflags", "+genpts"),
    ]
    streams = ["-map", f"0:{source.video_index}"]
    if source.has_audio:
        streams += ["-map", f"0:{source.audio_index}"]
    write = ["-c", "copy", "-map_metadata", "-1", "-map_chapters", "-1", "-f", "matroska"]
    write += ["-max_interleave_delta", MAX_INTERLEAVE_US, f"file:{output.absolute()}"]
    if source.demuxer == "mov":
        return _of_fragments(source, path, [*read, *streams], write)
    return [*read, *streams, *write]


def _of_fragments(source: Source, path: Path, read: list[str], write: list[str]) -> list[str]:
    """Return the command that reads the fragments in a sandbox before ffmpeg takes its place."""
    payload = {
        "path": str(path.absolute()),
        "video_index": source.video_index,
        "read": read,
        "write": write,
    }
    return [sys.executable, "-I", "-m", _FRAGMENTS_CHILD, json.dumps(payload)]
