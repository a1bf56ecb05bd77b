"""A task's second half, part by part: encode on the local disk, check the result, publish it on the share."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from imageio_ffmpeg import get_ffmpeg_exe
from sqlalchemy import Row

from worker_server import media, storage
from worker_server.jobs.base import claim_next, perform
from worker_server.jobs.heartbeat import Heartbeat
from worker_server.queue import leases
from worker_server.queue.leases import Clip, Lease
from worker_server.settings import Settings

_log = logging.getLogger(__name__)
# Far more than any part of a sane length takes; what grows beyond is a mistake.
_MAX_CLIP_BYTES = 2 * 1024**3
_SOON_DONE = 0.5


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
    with _scratch(settings) as folder:
        output = folder / "clip.mp4"
        copied = _copy(edit, output, settings, heartbeat)
        facts = copied or _encode(edit, output, settings, heartbeat)
        target = storage.part_path(settings.remote_folder, lease.task_id, row.number, lease.attempt)
        if heartbeat.should_stop():
            raise media.Stopped
        storage.publish(output, target)
    relative = str(target.relative_to(settings.remote_folder))
    rendered_by: Literal["copy", "encode"] = "copy" if copied else "encode"
    clip = Clip(relative, facts.size_bytes, facts.sha256, facts.frames, rendered_by)
    if not leases.finish_part(lease, clip):  # canceled meanwhile, or somebody else's by now
        target.unlink(missing_ok=True)
        leases.release(lease)


def _copy(
    edit: media.PartEdit, output: Path, settings: Settings, heartbeat: Heartbeat
) -> media.ClipFacts | None:
    """Make the clip from the source's own pictures; None where they are not fit for it."""
    if not settings.render_copy or settings.render_engine != "ffmpeg" or not media.may_copy(edit):
        return None
    try:
        return _run(
            media.copy_command(edit, output, get_ffmpeg_exe()), edit, output, settings, heartbeat
        )
    except (media.EncodeFailed, media.ClipRejected) as error:
        # Whatever it was: if it is the source's fault or the machine's, encoding meets it again, and says so.
        _log.info("not copied", extra={"part": edit.part.number, "detail": str(error)})
        return None


def _encode(
    edit: media.PartEdit, output: Path, settings: Settings, heartbeat: Heartbeat
) -> media.ClipFacts:
    command = media.renderer(settings.render_engine, get_ffmpeg_exe()).command(edit, output)
    return _run(command, edit, output, settings, heartbeat)


def _run(
    command: list[str], edit: media.PartEdit, output: Path, settings: Settings, heartbeat: Heartbeat
) -> media.ClipFacts:
    """Run what makes the clip, and check it."""
    with media.Verifier() as verifier:

        def on_progress(fraction: float) -> None:
            heartbeat.report(fraction)
            if fraction > _SOON_DONE:
                verifier.start()  # it loads its libraries while the encoder goes on

        media.run_encoder(
            command,
            total_frames=edit.total_frames,
            on_progress=on_progress,
            should_stop=heartbeat.should_stop,
            stall_s=settings.render_stall_s,
            timeout_s=settings.render_timeout_s,
            scratch=output.parent,
            memory_bytes=settings.render_memory_bytes,
            max_output_bytes=_MAX_CLIP_BYTES,
        )
        return verifier.check(output, edit, heartbeat.should_stop)


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
