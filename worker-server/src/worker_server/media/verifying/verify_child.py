"""Reads a finished clip, and compares it with its source, in a child process. Run by `Verifier`."""

import base64
import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.logging
from av.container import InputContainer

from worker_server.media.model.containers import open_source
from worker_server.media.model.edit import PartEdit
from worker_server.media.model.frame_grid import frame_index
from worker_server.media.process.child_main import serve_one_request
from worker_server.media.verifying.damage import damaged_frames
from worker_server.media.verifying.pictures import differing_frames, is_comparable
from worker_server.media.verifying.poster import poster
from worker_server.media.verifying.sound_level import level_difference_db

# Results for clips with damaged frames, which are not compared with the source.
_NO_DIFFERENCES: dict[str, Any] = {"differing_frames": [], "level_difference_db": None}


def facts_of(path: Path, edit: PartEdit, damaged: int) -> dict[str, Any]:
    """Return what a clip is, by its packets, how it differs from its source, and its SHA-256."""
    with open_source(path, "mov") as container:
        streams = [stream.type for stream in container.streams]
        if streams != ["video", "audio"]:
            return {"streams": streams}
        video, audio = container.streams.video[0], container.streams.audio[0]
        ends, frames, keys = _read(container, edit)
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
            "poster": _as_text(poster(path, keys, edit)),
            **(_NO_DIFFERENCES if damaged else _differences(container, keys, edit)),
        }


def _read(container: InputContainer, edit: PartEdit) -> tuple[list[Fraction], int, list[int]]:
    """Return when each stream ends, how many frames are shown and which are key frames.

    Raise at the first damaged packet.
    """
    end_ticks, frames, keys = [0, 0], 0, []
    for packet in container.demux():
        if packet.pts is None:
            continue
        if packet.is_corrupt or (packet.pts < 0 and packet.stream_index == 0):
            raise av.error.InvalidDataError(0, "a damaged or misplaced packet")
        end = packet.pts + (packet.duration or 0)
        end_ticks[packet.stream_index] = max(end_ticks[packet.stream_index], end)
        if packet.stream_index == 0:
            frames += 1
            if packet.is_keyframe:
                keys.append(frame_index(packet.pts * packet.time_base, edit.frame_rate))
    tick_s = [Fraction(stream.time_base or 1) for stream in container.streams]
    return [end * tick for end, tick in zip(end_ticks, tick_s, strict=True)], frames, sorted(keys)


def _damaged_frames(edit: PartEdit) -> int:
    with open_source(edit.source_path, edit.source.demuxer) as source:
        return damaged_frames(source, edit)


def _differences(clip: InputContainer, keys: list[int], edit: PartEdit) -> dict[str, Any]:
    """Compare the clip with its source; where that cannot be read, there is no difference."""
    differences: dict[str, Any] = dict(_NO_DIFFERENCES)
    try:
        with open_source(edit.source_path, edit.source.demuxer) as source:
            if is_comparable(edit):
                differences["differing_frames"] = differing_frames(source, clip, keys, edit)
            if edit.source.has_audio:
                differences["level_difference_db"] = level_difference_db(source, clip, edit)
    except (av.error.FFmpegError, ValueError):
        pass  # an unreadable source does not make the clip wrong
    return differences


def _edited_s(audio: "av.AudioStream", end_s: Fraction) -> Fraction:
    """Return when the sound ends: AAC fills its last packet, and the edit list cuts that off."""
    if audio.duration and audio.time_base:
        return min(end_s, audio.duration * audio.time_base)
    return end_s


def _as_text(picture: bytes | None) -> str | None:
    return None if picture is None else base64.b64encode(picture).decode()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reply(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the source's damage, and what the clip is or why one cannot be read."""
    edit = PartEdit.from_json(payload["edit"])
    damaged = 0
    try:
        damaged = _damaged_frames(edit) if payload["conceals"] else 0
        facts = facts_of(Path(payload["path"]), edit, damaged)
    except (av.error.FFmpegError, OSError) as error:
        facts = {"error": str(error)}
    return {**facts, "damaged_frames": damaged}


if __name__ == "__main__":
    av.logging.set_level(None)
    serve_one_request(reply)
