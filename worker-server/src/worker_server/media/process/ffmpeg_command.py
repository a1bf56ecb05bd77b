"""The arguments every ffmpeg command of ours begins with."""

from pathlib import Path

PROGRESS = ["-progress", "pipe:1", "-stats_period", "0.2"]


def quiet_ffmpeg(ffmpeg: str) -> list[str]:
    """Begin a command that asks nothing, says nothing but errors, and stops at the first one."""
    return [ffmpeg, "-nostdin", "-hide_banner", "-loglevel", "error", "-nostats", "-xerror", "-y"]


def local_input(path: Path, demuxer: str, *options: str) -> list[str]:
    """Read a local file with this demuxer, whatever is inside; `file:` keeps its name from being a protocol."""
    return ["-protocol_whitelist", "file", "-f", demuxer, *options, "-i", f"file:{path.absolute()}"]
