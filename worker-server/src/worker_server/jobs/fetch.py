"""A task's first half: download the source to the share, find out what it is, plan the parts."""

from pathlib import Path
from typing import Any

from imageio_ffmpeg import get_ffmpeg_exe

from worker_server import storage
from worker_server.fetching import FetchLimits, download
from worker_server.jobs.base import claim_next, perform
from worker_server.jobs.heartbeat import Heartbeat
from worker_server.media import (
    FrameRange,
    ProbeLimits,
    Source,
    Stopped,
    needs_remux,
    plan_parts,
    probe,
    remux_command,
    run_encoder,
    warm_prober,
)
from worker_server.queue import leases, wakeups
from worker_server.queue.leases import Lease
from worker_server.queue.preemption import preempt_for
from worker_server.settings import Settings


def fetch_next(settings: Settings) -> bool:
    """Fetch the task whose turn it is; False when there is none, or when the share is away."""
    row = claim_next(settings, leases.claim_task)
    if row is None:
        return False
    lease = Lease(row.id, row.attempt)
    perform(
        lease,
        settings,
        row.request_id,
        lambda heartbeat: _fetch(lease, row.url, settings, heartbeat),
    )
    warm_prober.prepare(_limits(settings))
    return True


def _fetch(lease: Lease, url: str, settings: Settings, heartbeat: Heartbeat) -> None:
    target = storage.source_path(settings.remote_folder, lease.task_id, lease.attempt)
    target.parent.mkdir(exist_ok=True)
    limits = _limits(settings)
    try:
        with warm_prober.take(limits) as prober:
            prober.start()  # it loads its libraries while the source comes
            _download(url, target, settings, heartbeat)
            source = prober.look(target, heartbeat.should_stop)
        if needs_remux(source):
            target = _remux(source, target, settings, heartbeat)
            source = probe(target, limits=limits, should_stop=heartbeat.should_stop)
        parts = [_row(part) for part in plan_parts(source, settings.part_seconds)]
    except BaseException:
        storage.remove_source(settings.remote_folder, lease.task_id, lease.attempt)
        raise
    # If this raises, the step may have been committed all the same: then the source is needed.
    if leases.begin_processing(
        lease, source.to_json(), str(target.relative_to(settings.remote_folder)), parts
    ):
        wakeups.send(wakeups.RENDER, len(parts))
        if preempt_for(lease.task_id):
            wakeups.send(wakeups.RENDER)  # for the part that waits again
    else:  # canceled meanwhile, or somebody else's by now
        storage.remove_source(settings.remote_folder, lease.task_id, lease.attempt)
        leases.release(lease)


def _limits(settings: Settings) -> ProbeLimits:
    return ProbeLimits(max_duration_s=settings.source_max_seconds, max_fps=settings.render_max_fps)


def _download(url: str, target: Path, settings: Settings, heartbeat: Heartbeat) -> None:
    limits = FetchLimits(
        max_bytes=settings.fetch_max_bytes,
        timeout_s=settings.fetch_timeout_s,
        stall_s=settings.fetch_stall_s,
    )
    download(
        url,
        target,
        limits=limits,
        allow_hosts=settings.fetch_allow_hosts,
        deny_hosts=settings.fetch_deny_hosts,
        on_progress=lambda done, total: heartbeat.report(done / total if total else 0),
        should_stop=heartbeat.should_stop,
    )
    if heartbeat.should_stop():
        raise Stopped


def _remux(source: Source, path: Path, settings: Settings, heartbeat: Heartbeat) -> Path:
    """Put the source into a container in which every part can be found exactly, and return where it lies then."""
    remuxed = path.with_name(f"{path.name}.remuxed")
    run_encoder(
        remux_command(source, path, remuxed, get_ffmpeg_exe()),
        total_frames=source.packet_count,
        on_progress=lambda _: None,
        should_stop=heartbeat.should_stop,
        stall_s=settings.render_stall_s,
        timeout_s=settings.render_timeout_s,
        scratch=path.parent,
        memory_bytes=settings.render_memory_bytes,
        max_output_bytes=2 * settings.fetch_max_bytes,
    )
    path.unlink()
    return remuxed


def _row(part: FrameRange) -> dict[str, Any]:
    return {
        "number": part.number,
        "start_frame": part.start_frame,
        "end_frame": part.end_frame,
        "start_s": float(part.start_s),
        "end_s": float(part.end_s),
    }
