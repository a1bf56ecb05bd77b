"""Reads a finished clip inside a child process. Run by `Verifier`."""

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.logging

from worker_server.media.model.containers import open_source
from worker_server.media.process.child_main import serve_one_request


def look(path: Path) -> dict[str, Any]:
    """Return what a clip is, by its packets, and its SHA-256."""
    with open_source(path, "mov") as container:
        streams = [stream.type for stream in container.streams]
        if streams != ["video", "audio"]:
            return {"streams": streams}
        video, audio = container.streams.video[0], container.streams.audio[0]
        ends, frames = _read(container)
        aspect = video.sample_aspect_ratio
        return {
            "streams": streams,
            "video": [
                video.codec_context.name,
                video.codec_context.profile,
                video.codec_context.pix_fmt,
            ],
            "size": [video.codec_context.width, video.codec_context.height],
            "sample_aspect": str(Fraction(aspect) if aspect else Fraction(1)),
            "frames": frames,
            "video_s": str(ends[0]),
            "audio": [
                audio.codec_context.name,
                audio.codec_context.sample_rate,
                audio.codec_context.channels,
            ],
            "audio_s": str(_edited_s(audio, ends[1])),
            "sha256": _sha256(path),
        }


def _read(container: "av.container.InputContainer") -> tuple[list[Fraction], int]:
    """Return when each stream ends and how many frames are shown; raise at the first damaged packet."""
    ends, frames = [Fraction(0), Fraction(0)], 0
    for packet in container.demux():
        if packet.pts is None:
            continue
        if packet.is_corrupt or (packet.pts < 0 and packet.stream_index == 0):
            raise av.error.InvalidDataError(0, "a damaged or misplaced packet")
        end_s = (packet.pts + (packet.duration or 0)) * packet.time_base
        ends[packet.stream_index] = max(ends[packet.stream_index], end_s)
        frames += packet.stream_index == 0
    return ends, frames


def _edited_s(audio: "av.AudioStream", end_s: Fraction) -> Fraction:
    """AAC ends on whole packets; the edit list says how much of the last one is heard."""
    if audio.duration and audio.time_base:
        return min(end_s, audio.duration * audio.time_base)
    return end_s


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reply(payload: dict[str, Any]) -> dict[str, Any]:
    """Return what the clip is, or why it cannot be read."""
    try:
        return look(Path(payload["path"]))
    except (av.error.FFmpegError, OSError) as error:
        return {"error": str(error)}


if __name__ == "__main__":
    av.logging.set_level(None)
    serve_one_request(reply)
