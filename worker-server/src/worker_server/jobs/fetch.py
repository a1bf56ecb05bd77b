"""A task's first half: download the source to the share, find out what it is, plan the parts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from imageio_ffmpeg import get_ffmpeg_exe

from worker_server import storage
from worker_server.errors import FailureCode
from worker_server.fetching import FetchLimits, download
from worker_server.jobs.base import claim_next, perform, share_is_usable
from worker_server.jobs.edits import planned_parts
from worker_server.jobs.heartbeat import Heartbeat
from worker_server.jobs.large_picture_lock import one_at_a_time
from worker_server.jobs.runtime import Runtime
from worker_server.jobs.uploads import link_upload
from worker_server.media import (
    Preparation,
    PrepareWatch,
    ProbeLimits,
    Prober,
    Source,
    SourceError,
    Stopped,
    prepare,
    probe,
)
from worker_server.queue import leases, totals, wakeups
from worker_server.queue.claims import Kind, TaskClaim, TaskLease, claim_task
from worker_server.queue.events import EventKind, record_progress
from worker_server.queue.preemption import preempt_for
from worker_server.queue.uploads import upload_of
from worker_server.settings import Settings

Facts: TypeAlias = dict[str, Any]
# Facts of the downloaded file, kept as they are when it is remuxed or normalized.
_ORIGINAL = ("size_bytes", "width", "height", "video_codec", "audio_codec")


def fetch_next(settings: Settings, runtime: Runtime) -> bool:
    """Fetch the next task in fair order; False when `claim_next` returns none."""
    claim = claim_next(settings, Kind.FETCH, claim_task)
    if claim is None:
        return False
    perform(
        claim,
        settings,
        runtime,
        lambda heartbeat: _fetch(claim, settings, runtime, heartbeat),
    )
    runtime.warm_prober.prepare(_limits(settings))
    return True


def _fetch(claim: TaskClaim, settings: Settings, runtime: Runtime, heartbeat: Heartbeat) -> None:
    lease = claim.lease
    try:
        facts, target = _fetched_before(claim, settings) or _fetch_source(
            claim, settings, runtime, heartbeat
        )
        source = Source.from_json(facts)
        watch = _watch(settings, heartbeat, source)
        parts = planned_parts(source, target, claim.edit, settings, watch)
    except BaseException:
        storage.remove_source(settings.remote_folder, lease.task_id, lease.attempt)
        raise
    # If this raises, the commit may still have happened, and then the file is needed: keep it.
    path = str(target.relative_to(settings.remote_folder))
    if leases.begin_processing(lease, facts, path, parts, settings.quotas):
        _wake_renders(lease, len(parts), settings)
    else:  # canceled meanwhile, or another worker has the lease
        storage.remove_source(settings.remote_folder, lease.task_id, lease.attempt)
        leases.release(lease)


def _fetched_before(claim: TaskClaim, settings: Settings) -> tuple[Facts, Path] | None:
    """Return the source that an earlier attempt has prepared, and its path, if both are good."""
    if claim.source is None or claim.source_path is None:
        return None
    path = settings.remote_folder / claim.source_path
    try:
        Source.from_json(claim.source)
    except (KeyError, TypeError, ValueError):  # stored by another release in another format
        return None
    return (claim.source, path) if path.is_file() else None


def _fetch_source(
    claim: TaskClaim, settings: Settings, runtime: Runtime, heartbeat: Heartbeat
) -> tuple[Facts, Path]:
    """Download and prepare the source; return what the task's row keeps of it, and its path."""
    lease = claim.lease
    target = storage.source_path(settings.remote_folder, lease.task_id, lease.attempt)
    target.parent.mkdir(exist_ok=True)
    with runtime.warm_prober.acquire(_limits(settings)) as prober:
        prober.start()  # the child loads its libraries during the download
        _download_or_link(claim.url, target, settings, heartbeat)
        record_progress(lease, EventKind.FETCHED)
        source = _probed(prober, target, heartbeat.should_stop)
    prepared, path = source, target
    if source.preparation is not Preparation.NONE:
        with one_at_a_time(source, settings.scratch_folder, heartbeat.should_stop):
            prepared, path = _prepare(source, target, _watch(settings, heartbeat, source))
    original = {name: value for name, value in source.to_json().items() if name in _ORIGINAL}
    return prepared.to_json() | {"original": original}, path


def _probed(prober: Prober, path: Path, should_stop: Callable[[], bool]) -> Source:
    """Return the facts of the source; one that seems damaged is probed once more.

    To a decoder a read that the share fails once is damage, and no other attempt would follow.
    Raise FileUnreadable where the share still fails.
    """
    try:
        return prober.probe(path, should_stop)
    except SourceError as error:
        if error.code != FailureCode.SOURCE_DAMAGED:
            raise
        storage.check_readable(path, should_stop)
        return probe(path, limits=prober.limits, should_stop=should_stop)


def _wake_renders(lease: TaskLease, count: int, settings: Settings) -> None:
    wakeups.send(Kind.RENDER, count)
    if share_is_usable(settings) and preempt_for(lease.task_id):
        wakeups.send(Kind.RENDER)  # the preempted part is pending again


def _limits(settings: Settings) -> ProbeLimits:
    return ProbeLimits(max_duration_s=settings.source_max_seconds, max_fps=settings.render_max_fps)


def _download_or_link(url: str, target: Path, settings: Settings, heartbeat: Heartbeat) -> None:
    if upload_id := upload_of(url):
        link_upload(upload_id, target, settings)
        return
    progress = _DownloadProgress(heartbeat)
    try:
        _download(url, target, settings, heartbeat, progress)
    finally:
        if progress.size_bytes:
            totals.add_bytes("in", progress.size_bytes)


class _DownloadProgress:
    """Reports the progress of a download, and counts what arrives: a broken one leaves no file."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        self.size_bytes = 0
        self._heartbeat = heartbeat
        self._done_bytes = 0

    def report(self, done_bytes: int, total_bytes: int | None) -> None:
        """Record how much of the file is there; less than before after it was started over."""
        is_more = done_bytes > self._done_bytes
        self.size_bytes += done_bytes - self._done_bytes if is_more else done_bytes
        self._done_bytes = done_bytes
        self._heartbeat.report(done_bytes / total_bytes if total_bytes else 0)


def _download(
    url: str, target: Path, settings: Settings, heartbeat: Heartbeat, progress: _DownloadProgress
) -> None:
    limits = FetchLimits(
        max_bytes=settings.fetch_max_bytes,
        timeout_s=settings.fetch_timeout_s,
        stall_s=settings.fetch_stall_s,
        max_retry_after_s=settings.source_retry_s,
    )
    download(
        url,
        target,
        limits=limits,
        allow_hosts=settings.fetch_allow_hosts,
        deny_hosts=settings.fetch_deny_hosts,
        on_progress=progress.report,
        should_stop=heartbeat.should_stop,
    )
    if heartbeat.should_stop():
        raise Stopped


def _watch(settings: Settings, heartbeat: Heartbeat, source: Source) -> PrepareWatch:
    return PrepareWatch(
        ffmpeg_path=get_ffmpeg_exe(),
        limits=_limits(settings),
        on_progress=heartbeat.report,
        should_stop=heartbeat.should_stop,
        stall_s=settings.render_stall_s,
        timeout_s=settings.prepare_timeout_s(float(source.duration_s)),
        memory_bytes=settings.render_memory_bytes,
        max_output_bytes=2 * settings.fetch_max_bytes,
    )


def _prepare(source: Source, path: Path, watch: PrepareWatch) -> tuple[Source, Path]:
    """Prepare the source so that every part can be cut exactly; return it and its path."""
    prepared, prepared_path = prepare(source, path, path.with_name(f"{path.name}.remuxed"), watch)
    if prepared_path != path:
        path.unlink()
    return prepared, prepared_path
