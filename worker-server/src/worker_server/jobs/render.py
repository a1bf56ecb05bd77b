"""A task's second half, part by part: encode locally, check the clip, publish it."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from imageio_ffmpeg import get_ffmpeg_exe

from worker_server import media, storage
from worker_server.jobs.base import claim_next, perform, retry_limits
from worker_server.jobs.brands import task_brand
from worker_server.jobs.edits import style_of
from worker_server.jobs.heartbeat import Heartbeat
from worker_server.jobs.large_picture_lock import are_decoded, is_large, one_at_a_time
from worker_server.jobs.runtime import Runtime
from worker_server.jobs.scratch import scratch_folder
from worker_server.limits import LARGE_SIDE
from worker_server.queue import leases, requeueing, wakeups
from worker_server.queue.claims import Kind, PartClaim, PartLease, claim_part
from worker_server.queue.parts import Clip
from worker_server.settings import Settings

# Far more than usual parts need; a larger file means a runaway encoder.
_MAX_CLIP_BYTES = 2 * 1024**3
_LEFT_OUT_PAUSE_S = 0.5
_log = logging.getLogger(__name__)


def render_next(settings: Settings, runtime: Runtime) -> bool:
    """Render the next part in fair order; False when `claim_next` returns none."""
    max_side = LARGE_SIDE if are_decoded(settings.scratch_folder) else None
    claim = claim_next(settings, Kind.RENDER, partial(claim_part, max_side=max_side))
    if claim is None:
        if max_side is not None:  # wake-ups for the parts left out would follow without a pause
            time.sleep(_LEFT_OUT_PAUSE_S)
        return False
    perform(
        claim,
        settings,
        runtime,
        lambda heartbeat: _render(claim, settings, runtime, heartbeat),
    )
    return True


def _render(claim: PartClaim, settings: Settings, runtime: Runtime, heartbeat: Heartbeat) -> None:
    if storage.file_is_gone(settings.remote_folder, claim.source_path):
        _fetch_again(claim.lease, settings, "is gone")
        return
    try:
        _make_clip(claim, settings, runtime, heartbeat)
    except storage.FileUnreadable as error:
        storage.require_mounted(settings.remote_folder)
        _fetch_again(claim.lease, settings, f"cannot be read ({error.strerror})")


def _make_clip(
    claim: PartClaim, settings: Settings, runtime: Runtime, heartbeat: Heartbeat
) -> None:
    lease = claim.lease
    edit = _edit(claim, settings, heartbeat)
    renderers = media.renderers(
        settings.render_engine, get_ffmpeg_exe(), stream_copy=settings.render_copy
    )
    with scratch_folder(settings.scratch_folder) as folder:
        output = folder / "clip.mp4"
        with one_at_a_time(edit.source, settings.scratch_folder, heartbeat.should_stop):
            watch = _watch(settings, heartbeat)
            rendered = _rendered(edit, output, renderers, watch, runtime)
        if is_large(edit.source):
            wakeups.send(Kind.RENDER)  # for a part that claims have left out meanwhile
        target = storage.part_path(
            settings.remote_folder, lease.task_id, lease.number, lease.attempt
        )
        if heartbeat.should_stop():
            raise media.Stopped
        crc32 = storage.publish(output, target)
        _publish_poster(rendered.facts.poster, folder, target)
    relative, facts = str(target.relative_to(settings.remote_folder)), rendered.facts
    clip = Clip(
        relative,
        facts.size_bytes,
        facts.sha256,
        facts.frames,
        rendered.rendered_by,
        facts.concealed_frames,
        crc32,
    )
    if not leases.finish_part(lease, clip):  # canceled meanwhile, or another worker has the lease
        target.unlink(missing_ok=True)
        with suppress(OSError):
            storage.poster_path(target).unlink(missing_ok=True)
        leases.release(lease)


def _rendered(
    edit: media.PartEdit,
    output: Path,
    renderers: list[media.Renderer],
    watch: media.RenderWatch,
    runtime: Runtime,
) -> media.RenderedClip:
    """Render the part; raise FileUnreadable if the share cannot read the source.

    Read errors make a child fail, or conceal missing pictures, as if the video were damaged.
    """
    try:
        rendered = media.render(edit, output, renderers, watch)
    except media.MediaError:
        _check_readable(edit.source_path, runtime, watch.should_stop)
        raise
    if rendered.facts.concealed_frames:
        _check_readable(edit.source_path, runtime, watch.should_stop)
    return rendered


def _check_readable(source: Path, runtime: Runtime, should_stop: Callable[[], bool]) -> None:
    """Raise FileUnreadable unless the share reads the whole source, now or for an earlier part.

    A damaged video of many parts would else be read once for each of them.
    """
    if source not in runtime.readable_sources:
        storage.check_readable(source, should_stop)
        runtime.readable_sources.append(source)


def _fetch_again(lease: PartLease, settings: Settings, reason: str) -> None:
    if requeueing.fetch_again(lease, retry_limits(settings)):
        _log.error("the file of the source %s: fetched again", reason)
    else:  # canceled meanwhile, or another worker has the lease
        leases.release(lease)


def _publish_poster(poster: bytes | None, scratch: Path, clip: Path) -> None:
    """Put the poster beside the published clip, which is good without one."""
    if poster is None:
        return
    local = scratch / "poster.jpg"
    try:
        local.write_bytes(poster)
        storage.publish(local, storage.poster_path(clip))
    except OSError as error:
        _log.warning("a poster could not be published: %s", type(error).__name__)


def _watch(settings: Settings, heartbeat: Heartbeat) -> media.RenderWatch:
    limits = media.RenderLimits(
        stall_s=settings.render_stall_s,
        timeout_s=settings.render_timeout_s,
        memory_bytes=settings.render_memory_bytes,
        max_output_bytes=_MAX_CLIP_BYTES,
    )
    return media.RenderWatch(heartbeat.report, heartbeat.should_stop, limits)


def _edit(claim: PartClaim, settings: Settings, heartbeat: Heartbeat) -> media.PartEdit:
    """Return the edit of the claimed part, by the row and the settings."""
    path = settings.remote_folder / claim.source_path
    source = _source(claim, path, heartbeat)
    part = media.FrameRange(
        claim.lease.number, claim.start_frame, claim.end_frame, source.frame_rate
    )
    style = style_of(claim.edit, settings, claim.live_parts)
    return media.PartEdit.of(
        source,
        path,
        part,
        brand=task_brand(claim.edit, claim.owner_id, settings),
        profile=style.profile,
        max_width=settings.render_max_width,
        aspect=style.aspect,
        fit=style.fit,
    )


def _source(claim: PartClaim, path: Path, heartbeat: Heartbeat) -> media.Source:
    """Return the facts that the probe stored; probe again if another release wrote them."""
    try:
        return media.Source.from_json(claim.source)
    except (KeyError, TypeError, ValueError):
        return media.probe(path, should_stop=heartbeat.should_stop)
