"""The sweeper's steps: each reclaims, sends or removes one thing, whatever the others do.

Safe to run in several processes at once; `sweeper` lets one at a time do each group of steps.
"""

import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable
from functools import partial

from worker_server import redis_client, storage
from worker_server.api.webhook_payloads import delete_with_payloads
from worker_server.db import RowLocked
from worker_server.errors import FailureCode, WorkFailed
from worker_server.jobs.base import retry_limits
from worker_server.jobs.removals import remove_due
from worker_server.jobs.runtime import SweepClock
from worker_server.queue import (
    backlog,
    batches,
    clock_changes,
    events,
    leases,
    removals,
    retention,
    totals,
    usage,
    wakeups,
    webhook_rows,
    workers,
)
from worker_server.queue.backlog import ExpiredLease
from worker_server.queue.claims import Kind, Lease, PartLease
from worker_server.queue.pauses import is_paused
from worker_server.settings import Settings
from worker_server.share_monitor import ShareMonitor

_log = logging.getLogger(__name__)
_ORPHANS_EVERY_S = 3600
# Long enough for a task's folder to be made just before or after its row.
_ORPHAN_AGE_S = 600
_BATCH_SIZE = 1000
# One statement deletes all rows of this many tasks, a thousand or more each for long videos, and
# PostgreSQL ends it after 10 s.
_EXPIRED_BATCH_SIZE = 50
# A share that hangs must not hold up the round, which reclaims leases too.
_SHARE_WAIT_S = 0.5


def shift_due_times(_: Settings) -> None:
    """Let nothing wait for times that the database's clock has shown before it was set back."""
    back_s = clock_changes.shift_due_times()
    if back_s:
        _log.warning("the database's clock was set back", extra={"seconds": round(back_s)})


def reclaim_leases(settings: Settings, clock: SweepClock) -> None:
    """Reclaim dead workers' leases.

    A round that is late reclaims none: until then live workers may have been unable to renew
    theirs, or the database's clock was set. Sweepers of all machines count as one.
    """
    expired = backlog.expired_leases(settings.lease_s)
    clock.left_leases = bool(expired) and not clock.left_leases and _is_late(settings)
    if clock.left_leases:
        _log.warning("sweep round is late: expired leases wait for the next one")
        return
    per_host = Counter(each.host for each in expired)
    for each in expired:
        is_alone = per_host[each.host] == 1
        if is_alone and events.machine_lost_other_work(each.host, each.lease):
            is_alone = False
        _reclaim(settings, each, counted=is_alone)


def _is_late(settings: Settings) -> bool:
    """Return whether a live worker's lease may have run out since the last round.

    By the database's clock, as the leases are. Call this after reading the leases: that query may
    have waited for the database.
    """
    age_s = workers.step_age_s(workers.LEASES_STEP)
    limit_s = max(settings.lease_s - settings.heartbeat_s, 2 * settings.sweep_s)
    return age_s is not None and not 0 <= age_s <= limit_s


def _reclaim(settings: Settings, expired: ExpiredLease, *, counted: bool) -> None:
    """Reclaim one lease; `counted`: the loss counts towards MAX_ATTEMPTS of the work.

    It does not count where one machine lost several leases in a short time: that is its fault.
    """
    lease = expired.lease
    extra = {"task_id": str(lease.task_id), "part": lease.number}
    _log.warning("lease expired", extra={**extra, "worker": expired.worker, "counted": counted})
    lost = WorkFailed(
        FailureCode.WORKER_LOST,
        "Every worker that tried it was lost.",
        retryable=True,
        counted=counted,
        retry_after_s=0 if lease.attempt == 1 else None,
    )
    try:
        leases.fail(lease, lost, retry_limits(settings), expired_only=True)
    except RowLocked:
        _log.warning("task is locked, its lease waits", extra=extra)


def preempt(share: ShareMonitor, preempt_one: Callable[[], Lease | None]) -> None:
    """Preempt work of an owner who has most of it where another waits; one a round.

    Does nothing while workers claim no work, as the share is unavailable or full.
    """
    if share.check(_SHARE_WAIT_S).error is None and (lease := preempt_one()) is not None:
        what = "render" if isinstance(lease, PartLease) else "download"
        extra = {"task_id": str(lease.task_id), "part": lease.number}
        _log.info("%s preempted", what, extra=extra)


def send_wakeups(settings: Settings) -> None:
    """Fill the queues in Redis up to the number of rows that are due; not while work is paused."""
    tasks, parts = backlog.due_work(wakeups.MAX_WAKEUPS)
    client = redis_client.connect(settings, timeout_s=5)
    try:
        for kind, due in ((Kind.FETCH, tasks), (Kind.RENDER, parts)):
            sent = wakeups.refill(client, kind, 0 if is_paused(kind) else due)
            if sent:
                _log.info("wake-ups sent", extra={"queue": kind, "count": sent})
    finally:
        client.close()


def remove_files(settings: Settings) -> None:
    """Carry out due removals, also of canceling tasks that have none, as after a restore."""
    removals.request_for(removals.canceling_without_removal())
    remove_due(settings)


def remove_orphans(settings: Settings, clock: SweepClock) -> None:
    """Once an hour, request the removal of dead workers' files and of orphaned folders."""
    if not clock.orphans_are_due(_ORPHANS_EVERY_S):
        return
    if not storage.is_mounted(settings.remote_folder):
        return
    modified_before = time.time() - _ORPHAN_AGE_S
    folders = [
        (task_id, at)
        for task_id, at in storage.task_folders(settings.remote_folder)
        if at < modified_before
    ]
    for start in range(0, len(folders), _BATCH_SIZE):
        batch = folders[start : start + _BATCH_SIZE]
        _request_removals(batch, modified_before - 2 * _ORPHANS_EVERY_S)
    clock.orphans_removed_at = time.monotonic()


def _request_removals(folders: list[tuple[uuid.UUID, float]], recently: float) -> None:
    gone = backlog.unknown_ids([task_id for task_id, _ in folders])
    removals.request_for(
        [task_id for task_id, modified_at in folders if task_id in gone or modified_at > recently]
    )


def delete_expired_tasks(settings: Settings) -> None:
    """Delete tasks that are older than RETENTION_DAYS; `remove_files` then removes their files."""
    retention.apply_setting(settings.retention_days)
    delete = partial(retention.delete_expired, _EXPIRED_BATCH_SIZE)
    while task_ids := delete_with_payloads(delete):
        _log.info("tasks expired", extra={"count": len(task_ids)})


def fold_totals(_: Settings) -> None:
    """Fold what was counted since the last round into the totals that `/metrics` shows."""
    totals.fold()


def delete_old_rows(_: Settings) -> None:
    """Remove old rows: of dead workers, empty batches, events, days of usage and deliveries."""
    workers.delete_dead()
    usage.delete_old_days()
    batches.delete_empty()
    events.trim_events()
    webhook_rows.end_deliveries_of_disabled()
    webhook_rows.delete_old_deliveries()
