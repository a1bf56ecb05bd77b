"""Makes a brand from a draft: checks and normalizes its files, publishes them, stores the row."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from imageio_ffmpeg import get_ffmpeg_exe

from worker_server import storage
from worker_server.brand_drafts import BrandDraft, BrandsBusy
from worker_server.brand_files import brand_file, name_of, publish_files
from worker_server.brand_specs import brand_of
from worker_server.errors import WorkFailed
from worker_server.media import MediaProcessCrashed
from worker_server.media.branding.normalize import (
    BrandFault,
    BrandFileRefused,
    is_image,
    normalize_image,
    normalize_video,
    with_field,
)
from worker_server.media.branding.preview import brand_preview
from worker_server.models import Brand
from worker_server.queue import brands
from worker_server.queue.sql_common import ScopedSession
from worker_server.settings import current
from worker_server.storage import ShareAway

# Seconds from the call until its files are normalized; encoding a video takes longer than the usual
# limit of 15 s. With those left for publishing, fewer than nginx waits (proxy_read_timeout).
_NORMALIZE_S, _NORMALIZE_VIDEO_S = 12.0, 60.0
_MIN_PUBLISH_S, _PUBLISH_S = 2.5, 8.0
_TOO_LONG = "The files took too long; try again in a moment."


def make_brand(draft: BrandDraft, remote: Path) -> Brand:
    """Return the stored brand.

    Raise BrandFileRefused, BrandsBusy, TooManyBrands, TooManyBytes, ShareAway, or
    MediaProcessCrashed.
    """
    spec: dict[str, Any] = {"background": draft.background}
    made: dict[str, Path] = {}
    for field, path in draft.files.items():
        try:
            with _failure_as_busy(_TOO_LONG):
                spec[field] = _normalized(draft, field, path, made)
        except BrandFileRefused as refusal:
            raise with_field(refusal, refusal.field or field) from refusal
    size_bytes = sum(path.stat().st_size for path in made.values())
    brand = Brand(
        owner_id=draft.owner_id,
        name=draft.name,
        spec=spec,
        files=sorted(made),
        size_bytes=size_bytes,
    )
    with _oserror_as_share_unavailable():
        check = partial(_check_quota, brand)
        brands.create(brand, partial(_publish, remote, draft, made), check)
    return brand


def _check_quota(brand: Brand, session: ScopedSession) -> None:
    """Raise TooManyBytes where the account has no space for the brand of this transaction."""
    quotas = current().quotas.of_account(session, brand.owner_id)
    quotas.check_new_bytes(session, brand.owner_id, brand.size_bytes)


def _left_s(draft: BrandDraft) -> float:
    """Return the seconds until the files must be normalized; below 0 where it is too late."""
    has_video = not all(_is_image(draft, field) for field in draft.files)
    limit_s = _NORMALIZE_VIDEO_S if has_video else _NORMALIZE_S
    return draft.called_at + limit_s - time.monotonic()


def _required_s(draft: BrandDraft) -> float:
    """Return the seconds for the next file; raise BrandsBusy where none are left."""
    left_s = _left_s(draft)
    if left_s <= 0:
        raise BrandsBusy(_TOO_LONG)
    return left_s


def _is_image(draft: BrandDraft, field: str) -> bool:
    """Return whether this file is an image; raise BrandFileRefused with the file's own field."""
    try:
        return is_image(draft.files[field])
    except BrandFileRefused as refusal:
        raise with_field(refusal, field) from refusal


def _publish(remote: Path, draft: BrandDraft, made: dict[str, Path]) -> None:
    """Put the files on the share; raise ShareAway where that takes too long, as the share hangs.

    The thread that hangs then ends with the share's return: its files belong to no brand, or to
    the next one with the same content, and the sweeper removes them.
    """
    publish = partial(publish_files, remote, draft.owner_id, made)
    storage.write_within(min(_PUBLISH_S, max(_MIN_PUBLISH_S, _left_s(draft))), publish)


def draw_preview(brand: Brand, aspect: str, remote: Path) -> bytes:
    """Return the stored brand's preview for a shape such as `16:9`, as JPEG.

    Raise ShareAway where its files cannot be read, BrandsBusy where the machine takes too long,
    MediaProcessCrashed.
    """
    width, _, height = aspect.partition(":")
    with (
        _oserror_as_share_unavailable(),
        _failure_as_busy("The preview took too long; try again in a moment."),
    ):
        storage.require_mounted(remote)
        normalized = brand_of(brand.spec, partial(brand_file, remote, brand.owner_id))
        return brand_preview(normalized, Fraction(int(width), int(height)))


@contextmanager
def _failure_as_busy(message: str) -> Iterator[None]:
    """Raise BrandsBusy where the machine is too slow; a crash is passed on."""
    try:
        yield
    except MediaProcessCrashed:
        raise
    except WorkFailed as error:
        raise BrandsBusy(message) from error


@contextmanager
def _oserror_as_share_unavailable() -> Iterator[None]:
    """Raise ShareAway where the share can be neither read nor written."""
    try:
        yield
    except OSError as error:
        raise ShareAway("The storage does not answer at the moment.") from error


def _normalized(draft: BrandDraft, field: str, path: Path, made: dict[str, Path]) -> dict[str, Any]:
    """Return what the brand's spec says of the file, and add its content to `made`."""
    if field == "watermark":
        return _watermark(draft, path, made)
    if _is_image(draft, field):
        image = normalize_image(
            path, draft.folder / f"{field}.png", draft.background, _required_s(draft)
        )
        sides = {"width": image.width, "height": image.height}
        duration_s = str(draft.durations_s.get(field, 1.0))
        return {"file": _add(image.path, made), "duration_s": duration_s, **sides}
    output = draft.folder / f"{field}.mp4"
    video = normalize_video(path, output, get_ffmpeg_exe(), draft.background, _required_s(draft))
    return {
        "file": _add(video.path, made),
        "duration_s": str(video.duration_s),
        "width": video.width,
        "height": video.height,
    }


def _watermark(draft: BrandDraft, path: Path, made: dict[str, Path]) -> dict[str, Any]:
    if not _is_image(draft, "watermark"):
        raise BrandFileRefused(BrandFault.UNSUPPORTED)
    image = normalize_image(path, draft.folder / "watermark.png", None, _required_s(draft))
    sides = {"width": image.width, "height": image.height}
    return {"file": _add(image.path, made), **sides, **draft.watermark}


def _add(path: Path, made: dict[str, Path]) -> str:
    name = name_of(path)
    made[name] = path
    return name
