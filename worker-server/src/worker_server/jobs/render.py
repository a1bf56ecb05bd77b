"""A task's second half, part by part: encode on the local disk, check the result, publish it on the share."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imageio_ffmpeg import get_ffmpeg_exe
from sqlalchemy import Row

from worker_server import media, storage
from worker_server.jobs.base import claim_next, perform
from worker_server.jobs.heartbeat import Heartbeat
from worker_server.queue import leases
from worker_server.queue.leases import Clip, Lease
from worker_server.settings import Settings

# Far more than any part of a sane length takes; what grows beyond is a mistake.
_MAX_CLIP_BYTES = 2 * 1024**3


def render_next(settings: Settings) -> bool:
    """Render the part whose turn it is; False when there is none, or when the share is away."""
    row = claim_next(settings, leases.claim_part)
    if row is None:
        return False
    lease = Lease(row.task_id, row.attempt, row.number)
    perform(
        lease, settings, row.request_id, lambda heartbeat: _render(lease, row, settings, heartbeat)
    )
    return True


def _render(lease: Lease, row: Row[Any], settings: Settings, heartbeat: Heartbeat) -> None:
    edit = _edit(row, settings, heartbeat)
    renderers = media.renderers(
        settings.render_engine, get_ffmpeg_exe(), stream_copy=settings.render_copy
    )
    with _scratch(settings) as folder:
        output = folder / "clip.mp4"
        rendered = media.render(edit, output, renderers, _watch(settings, heartbeat))
        target = storage.part_path(settings.remote_folder, lease.task_id, row.number, lease.attempt)
        if heartbeat.should_stop():
            raise media.Stopped
        storage.publish(output, target)
    relative, facts = str(target.relative_to(settings.remote_folder)), rendered.facts
    clip = Clip(relative, facts.size_bytes, facts.sha256, facts.frames, rendered.rendered_by)
    if not leases.finish_part(lease, clip):  # canceled meanwhile, or another worker's by now
        target.unlink(missing_ok=True)
        leases.release(lease)


def _watch(settings: Settings, heartbeat: Heartbeat) -> media.RenderWatch:
    limits = media.RenderLimits(
        stall_s=settings.render_stall_s,
        timeout_s=settings.render_timeout_s,
        memory_bytes=settings.render_memory_bytes,
        max_output_bytes=_MAX_CLIP_BYTES,
    )
    return media.RenderWatch(heartbeat.report, heartbeat.should_stop, limits)


def _edit(row: Row[Any], settings: Settings, heartbeat: Heartbeat) -> media.PartEdit:
    """Return what is to be done, from the row and the settings."""
    path = settings.remote_folder / row.source_path
    source = _source(row, path, heartbeat)
    part = media.FrameRange(row.number, row.start_frame, row.end_frame, source.frame_rate)
    profile = media.Profile(
        settings.render_preset, settings.render_crf, settings.threads_per_render
    )
    return media.PartEdit.of(
        source,
        path,
        part,
        logo_path=settings.logo_path or media.DEFAULT_LOGO,
        logo_s=settings.logo_seconds,
        profile=profile,
        max_width=settings.render_max_width,
    )


def _source(row: Row[Any], path: Path, heartbeat: Heartbeat) -> media.Source:
    """Return what was found out before; only another version's facts are found out anew."""
    try:
        return media.Source.from_json(row.source)
    except (KeyError, TypeError, ValueError):
        return media.probe(path, should_stop=heartbeat.should_stop)


@contextmanager
def _scratch(settings: Settings) -> Iterator[Path]:
    """Make a folder on the local disk for as long as the block lasts; what killed processes left is removed first."""
    root = settings.scratch_folder
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    _remove_left_behind(root)
    folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}.", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left_behind(root: Path) -> None:
    for entry in os.scandir(root):
        pid = entry.name.partition(".")[0]
        if pid.isdigit() and not _is_alive(int(pid)):
            shutil.rmtree(entry.path, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
