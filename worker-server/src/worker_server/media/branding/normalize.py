"""Checks a brand's file by its content and converts it to what renderers read: PNG or MP4."""

import time
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path

from worker_server.errors import WorkFailed
from worker_server.media.errors import SourceError
from worker_server.media.model.brand import Brand
from worker_server.media.model.edit import PartEdit, Profile
from worker_server.media.model.geometry import Aspect
from worker_server.media.model.plan import FrameRange
from worker_server.media.model.source import ProbeLimits
from worker_server.media.probing.prepare import PrepareWatch, prepare
from worker_server.media.probing.probe import probe
from worker_server.media.process.child import (
    Child,
    ChildFailed,
    ChildFiles,
    ChildLimitHit,
    ChildLimits,
    as_media_error,
)
from worker_server.media.rendering.ffmpeg import FfmpegRenderer
from worker_server.media.rendering.render import RenderLimits, RenderWatch, render

MAX_VIDEO_S = 10
# Tolerance: "ten seconds" of 29.97 fps are 300 frames, 10.01 s, and sound ends on a whole packet.
_MAX_ROUNDED_S = MAX_VIDEO_S + Fraction(1, 10)
_CHILD = "worker_server.media.branding.image_child"
_IMAGE_LIMITS = ChildLimits(cpu_s=20, memory_bytes=1024**3, file_bytes=32 * 1024**2, nice=10)
_TIMEOUT_S = 20.0
_VIDEO_TIMEOUT_S, _MIN_TIMEOUT_S = 45.0, 0.1
_VIDEO_MEMORY_BYTES = 2 * 1024**3
_MAX_VIDEO_SIDE = 4096  # larger ones need more memory than the container `tasks` has
_MAX_VIDEO_BYTES = 64 * 1024**2
# Nearly lossless: each clip encodes the bumper a second time.
_VIDEO_PROFILE = Profile("superfast", 16, 1)
_IMAGE_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_ANIMATED = (b"GIF87a", b"GIF89a")


class BrandFault(StrEnum):
    """Why a file cannot be part of a brand; the codes of the API."""

    EMPTY = "brand_file_empty"
    UNSUPPORTED = "brand_file_unsupported"
    TOO_LARGE = "brand_image_too_large"
    ANIMATED = "brand_image_animated"
    BROKEN = "brand_file_broken"
    TOO_LONG = "brand_video_too_long"


_MESSAGES = {
    BrandFault.EMPTY: "The file is empty.",
    BrandFault.UNSUPPORTED: "The file is no PNG, JPEG or WebP image. Only before and after the"
    " content, videos of accepted formats are taken too.",
    BrandFault.TOO_LARGE: "An image may have at most 8192 pixels a side and 16.7 million in total.",
    BrandFault.ANIMATED: "Animated images are not accepted; send a video instead.",
    BrandFault.BROKEN: "The file is incomplete or damaged.",
    BrandFault.TOO_LONG: f"A video may last at most {MAX_VIDEO_S} seconds.",
}


class BrandFileRefused(Exception):
    """A file cannot be part of a brand; `fault` is why, `field` the name it was sent under."""

    def __init__(self, fault: BrandFault, field: str = "") -> None:
        super().__init__(_MESSAGES[fault])
        self.fault = fault
        self.field = field


@dataclass(frozen=True)
class NormalizedImage:
    """A normalized PNG, and its size in pixels."""

    path: Path
    width: int
    height: int


@dataclass(frozen=True)
class NormalizedVideo:
    """A normalized MP4 with sound, silent where the file has none."""

    path: Path
    width: int
    height: int
    duration_s: Fraction


def is_image(path: Path) -> bool:
    """Return whether the file is a PNG, JPEG or WebP, by its first bytes.

    Raise BrandFileRefused for an empty file or a GIF.
    """
    with path.open("rb") as file:
        first_bytes = file.read(16)
    if not first_bytes:
        raise BrandFileRefused(BrandFault.EMPTY)
    if first_bytes.startswith(_ANIMATED):
        raise BrandFileRefused(BrandFault.ANIMATED)
    return first_bytes.startswith(_IMAGE_STARTS) or (
        first_bytes[:4] == b"RIFF" and first_bytes[8:12] == b"WEBP"
    )


def normalize_image(
    path: Path, output: Path, background: str | None, timeout_s: float = _TIMEOUT_S
) -> NormalizedImage:
    """Decode the image in a sandboxed child and write it to `output` as PNG.

    The PNG is upright and at most 1920 pixels a side. Transparent parts show the background; None
    keeps them. Raise BrandFileRefused, MediaProcessCrashed, or WorkFailed after `timeout_s`.
    """
    output.touch()  # the sandboxed child may write this file, but create none
    payload = {"path": str(path), "output": str(output), "background": background}
    try:
        with Child(_CHILD, _IMAGE_LIMITS) as child:
            files = ChildFiles(read=(path,), write=(output,))
            answer = child.request(payload, timeout_s, lambda: False, files)
    except ChildLimitHit as error:
        raise BrandFileRefused(BrandFault.TOO_LARGE) from error
    except ChildFailed as error:
        raise as_media_error(error, "image", "The image took too long.") from error
    if "fault" in answer:
        raise BrandFileRefused(BrandFault(answer["fault"]))
    return NormalizedImage(output, answer["width"], answer["height"])


def normalize_video(
    path: Path,
    output: Path,
    ffmpeg_path: str,
    background: str,
    timeout_s: float = _VIDEO_TIMEOUT_S,
) -> NormalizedVideo:
    """Encode all frames of the video as one clip, in the sandbox: upright, BT.709, constant rate.

    Transparent parts show the background, `#rrggbb`. `output.parent` is the scratch folder. Raise
    BrandFileRefused, or WorkFailed where the machine is at fault, as after `timeout_s`.
    """
    ends_at = time.monotonic() + timeout_s
    limits = ProbeLimits(
        max_side=_MAX_VIDEO_SIDE,
        max_pixels=_MAX_VIDEO_SIDE**2,
        max_duration_s=float(_MAX_ROUNDED_S),
        timeout_s=min(_TIMEOUT_S, timeout_s),
        memory_bytes=_VIDEO_MEMORY_BYTES,
    )
    try:
        brand = Brand(background=background)
        edit = _whole_video_edit(path, output, _watch(ffmpeg_path, limits, ends_at), brand)
        left_s = _left_s(ends_at)
        watch = RenderLimits(_TIMEOUT_S, left_s, _VIDEO_MEMORY_BYTES, _MAX_VIDEO_BYTES)
        render(edit, output, [FfmpegRenderer(ffmpeg_path)], RenderWatch(limits=watch))
    except WorkFailed as error:
        raise _refusal(error) from error
    return NormalizedVideo(output, edit.width, edit.height, edit.duration_s)


def _left_s(ends_at: float) -> float:
    return max(_MIN_TIMEOUT_S, ends_at - time.monotonic())


def _watch(ffmpeg_path: str, limits: ProbeLimits, ends_at: float) -> PrepareWatch:
    return PrepareWatch(
        ffmpeg_path,
        limits,
        stall_s=_TIMEOUT_S,
        timeout_s=_left_s(ends_at),
        memory_bytes=_VIDEO_MEMORY_BYTES,
        max_output_bytes=_MAX_VIDEO_BYTES,
    )


def _whole_video_edit(path: Path, output: Path, watch: PrepareWatch, brand: Brand) -> PartEdit:
    """Return the edit that shows all of the video and nothing else."""
    probed = probe(path, limits=watch.limits)
    source, prepared = prepare(probed, path, output.with_suffix(".prepared"), watch)
    frames = FrameRange(0, 0, source.frame_count, source.frame_rate)
    edit = PartEdit.of(
        source, prepared, frames, brand=brand, profile=_VIDEO_PROFILE, aspect=Aspect.SOURCE
    )
    if edit.duration_s > _MAX_ROUNDED_S:
        raise BrandFileRefused(BrandFault.TOO_LONG)
    return edit


def _refusal(error: WorkFailed) -> Exception:
    """Return the refusal that a failure means; the failure itself if the file is not at fault."""
    if error.code == "source_too_long":
        return BrandFileRefused(BrandFault.TOO_LONG)
    damaged = ("source_damaged", "source_incomplete", "decoder_crashed", "clip_rejected")
    if error.code in damaged:
        return BrandFileRefused(BrandFault.BROKEN)
    is_refused = isinstance(error, SourceError) or error.code == "clip_too_large"
    return BrandFileRefused(BrandFault.UNSUPPORTED) if is_refused else error


def with_field(refusal: BrandFileRefused, field: str) -> BrandFileRefused:
    """Return the refusal with `field`, the name that the file was sent under."""
    return BrandFileRefused(refusal.fault, field)
