"""Checks a finished clip against its edit: an encoder's exit status of 0 proves nothing."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from worker_server.media.errors import ClipRejected, EncodeFailed
from worker_server.media.model.edit import AUDIO_RATE, PartEdit
from worker_server.media.process.child import (
    Child,
    ChildFailed,
    ChildFiles,
    ChildLimitHit,
    ChildLimits,
    as_media_error,
)

_CHILD = "worker_server.media.verifying.verify_child"
_LIMITS = ChildLimits(cpu_s=60, memory_bytes=1024**3, file_bytes=1)
_TIMEOUT_S = 60.0
_MAX_LENGTH_DIFFERENCE_S = Fraction(50, 1000)  # between the lengths of picture and sound
# Share of a part's frames, documented in docs/formats.md.
_MAX_CONCEALED_SHARE = Fraction(1, 10)
# Tolerance for rounding to ticks of the MP4 time scale.
_CLOCK_S = Fraction(1, 1000)


@dataclass(frozen=True)
class ClipFacts:
    """The facts of a verified clip."""

    size_bytes: int
    frames: int
    duration_s: float
    sha256: str
    concealed_frames: int = 0  # damaged in the source and replaced by a neighbour
    poster: bytes | None = field(default=None, repr=False)  # JPEG


class Verifier(Child):
    """A child process that is ready to verify one clip."""

    def __init__(self) -> None:
        super().__init__(_CHILD, _LIMITS)

    def check(
        self,
        path: Path,
        edit: PartEdit,
        should_stop: Callable[[], bool],
        *,
        conceals: bool = False,
    ) -> ClipFacts:
        """Return the facts of a clip that is exactly what the edit asks for.

        With `conceals` the damaged frames of the source are counted. Raise EncodeFailed
        (`source_damaged`) where there are too many, whatever the clip, or (`probe_timeout`) without
        an answer in time, ClipRejected with every difference, MediaProcessCrashed, or Stopped.
        """
        # Where nothing can be decoded a concealing renderer writes an empty file.
        if not path.is_file() or (not conceals and path.stat().st_size == 0):
            raise ClipRejected("There is no clip, or it is empty.")
        payload = {"path": str(path.absolute()), "edit": edit.to_json(), "conceals": conceals}
        measured = self._measure(payload, should_stop, ChildFiles(read=(path, edit.source_path)))
        concealed = _bounded_damage(measured["damaged_frames"], edit)
        _reject_differences(measured, edit)
        return _clip_facts(measured, path.stat().st_size, concealed)

    def _measure(
        self, payload: dict[str, Any], should_stop: Callable[[], bool], files: ChildFiles
    ) -> dict[str, Any]:
        try:
            measured: dict[str, Any] = self.request(payload, _TIMEOUT_S, should_stop, files)
        except ChildLimitHit as error:
            raise ClipRejected(f"The clip cannot be verified: {error}.") from error
        except ChildFailed as error:
            message = f"The clip was not verified: {error}."
            raise as_media_error(error, "verify", message) from error
        return measured


def verify_clip(path: Path, edit: PartEdit) -> ClipFacts:
    """Verify the clip in a new child process."""
    with Verifier() as verifier:
        return verifier.check(path, edit, should_stop=lambda: False)


def _reject_differences(measured: dict[str, Any], edit: PartEdit) -> None:
    if "error" in measured:
        raise ClipRejected(f"The clip cannot be read: {measured['error']}.")
    if measured["streams"] != ["video", "audio"]:
        raise ClipRejected(f"The clip has the streams {measured['streams']}.")
    if differences := list(_differences(measured, edit)):
        raise ClipRejected(f"The clip is not what was requested: {'; '.join(differences)}.")


def _clip_facts(measured: dict[str, Any], size_bytes: int, concealed: int) -> ClipFacts:
    return ClipFacts(
        size_bytes=size_bytes,
        frames=measured["frames"],
        duration_s=float(Fraction(measured["video_s"])),
        sha256=measured["sha256"],
        concealed_frames=concealed,
        poster=base64.b64decode(measured["poster"]) if measured["poster"] else None,
    )


def _bounded_damage(damaged: int, edit: PartEdit) -> int:
    if damaged > edit.part.frame_count * _MAX_CONCEALED_SHARE:
        count = edit.part.frame_count
        raise EncodeFailed(
            "source_damaged",
            f"The video is damaged: {damaged} of this part's {count} frames cannot be decoded.",
            retryable=False,
        )
    return damaged


def _differences(measured: dict[str, Any], edit: PartEdit) -> Iterator[str]:
    wanted: dict[str, Any] = {
        "video": ["h264", "High", "yuv420p"],
        "size": [edit.width, edit.height],
        "sample_aspect": "1",
        "frames": edit.total_frames,
        "audio": ["aac", AUDIO_RATE, 2],
    }
    for name, value in wanted.items():
        if measured[name] != value:
            yield f"{name} is {measured[name]}, not {value}"
    video_s, audio_s = Fraction(measured["video_s"]), Fraction(measured["audio_s"])
    if abs(video_s - edit.duration_s) > _CLOCK_S:
        yield f"the picture lasts {float(video_s):.3f} s, not {float(edit.duration_s):.3f} s"
    if abs(audio_s - video_s) > _MAX_LENGTH_DIFFERENCE_S:
        yield f"the sound lasts {float(audio_s):.3f} s, the picture {float(video_s):.3f} s"
    if frames := measured["differing_frames"]:
        yield f"the pictures of frames {frames} of the part are not the source's"
    if measured["level_difference_db"] is not None:
        yield f"the sound is {measured['level_difference_db']:+.1f} dB from the source's"
