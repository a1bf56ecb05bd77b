"""The arguments that every ffmpeg command begins with."""

from pathlib import Path

from worker_server.media.model.codecs import CODEC_WHITELIST

PROGRESS = ["-progress", "pipe:1", "-stats_period", "0.2"]


def quiet_ffmpeg(ffmpeg: str, *, stops_at_errors: bool = True) -> list[str]:
    """Begin an ffmpeg command that does not read stdin, prints only errors, and ends at the first.

    Without `stops_at_errors` ffmpeg continues at any rate of decoding errors; errors of filters,
    encoders and the output always end it.
    """
    words = [ffmpeg, "-nostdin", "-hide_banner", "-loglevel", "error", "-nostats", "-y"]
    return [*words, *(["-xerror"] if stops_at_errors else ["-max_error_rate", "1"])]


def local_input(path: Path, demuxer: str, *options: str) -> list[str]:
    """Read a local file with this demuxer; `file:` keeps a name like `http:x` from being a URL."""
    allowed = ["-protocol_whitelist", "file", "-codec_whitelist", CODEC_WHITELIST]
    return [*allowed, "-f", demuxer, *options, "-i", f"file:{path.absolute()}"]
