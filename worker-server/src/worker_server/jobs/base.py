"""What every job does: claim a lease, work under a heartbeat, record the outcome, clean up."""

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, TypeVar

from flask import Flask, current_app
from sqlalchemy.exc import SQLAlchemyError

from idrl_common import request_ids
from worker_server import storage
from worker_server.errors import FailureCode, Stopped
from worker_server.jobs.failures import classify_failure
from worker_server.jobs.heartbeat import Heartbeat, StopReason
from worker_server.jobs.removals import remove_unneeded_files
from worker_server.jobs.runtime import Runtime, worker_name
from worker_server.queue import leases, wakeups, workers
from worker_server.queue.claims import Kind, Lease, PartClaim, TaskClaim
from worker_server.queue.events import EventKind, record_progress
from worker_server.queue.pauses import is_paused
from worker_server.queue.retry_policy import RetryLimits
from worker_server.settings import Settings

C = TypeVar("C")
_log = logging.getLogger(__name__)


def claim_next(settings: Settings, kind: Kind, claim: Callable[[str, float], C | None]) -> C | None:
    """Claim the next work in fair order.

    None when there is none, work is paused, or the share is unavailable or full.
    """
    if is_paused(kind) or not share_is_usable(settings):
        return None
    return claim(worker_name(), settings.lease_s)


def share_is_usable(settings: Settings) -> bool:
    """Return whether work is claimed: not while the share is unavailable or full."""
    try:
        storage.check_usable(settings.remote_folder, settings.storage_reserve_bytes)
    except storage.ShareUnusable as error:
        _log.error("no work is claimed: %s", error)
        return False
    return True


def perform(
    claim: TaskClaim | PartClaim,
    settings: Settings,
    runtime: Runtime,
    work: Callable[[Heartbeat], None],
) -> None:
    """Do `work` under the claim's lease; record a failure, release on a stop, and clean up."""
    lease = claim.lease
    request_ids.task_id.set(str(lease.task_id))
    request_ids.request_id.set(claim.request_id)
    request_ids.traceparent.set(claim.traceparent)
    extra = {"attempt": lease.attempt, "part": lease.number}
    _log.info("job begins", extra=extra)
    heartbeat = Heartbeat(_app(), lease, settings, runtime.shutdown)
    with ExitStack() as stack:  # the heartbeat continues until the outcome is recorded
        try:
            record_progress(lease, EventKind.CLAIMED)
            work(stack.enter_context(heartbeat))
        except Stopped:
            _release_lease(lease, heartbeat.reason)
            _log.info("job stopped", extra={**extra, "reason": str(heartbeat.reason)})
        except Exception as error:  # noqa: BLE001 # otherwise the row would wait for its lease to run out
            _record_failure(error, lease, settings, runtime, extra)
        else:
            _log.info("job ends", extra=extra)
            _record_fault(runtime, None)
    remove_unneeded_files(settings, lease.task_id)


def _record_failure(
    error: Exception,
    lease: Lease,
    settings: Settings,
    runtime: Runtime,
    extra: Mapping[str, object],
) -> None:
    failure = classify_failure(error, lease, settings)
    is_internal = failure.code == FailureCode.INTERNAL_ERROR
    fields = {**extra, "code": failure.code, "detail": str(error)}
    _log.warning("job failed", extra=fields, exc_info=error if is_internal else None)
    leases.fail(lease, failure, retry_limits(settings))
    if is_internal:
        _record_fault(runtime, failure.code)


def retry_limits(settings: Settings) -> RetryLimits:
    """Return when attempts end, by the settings."""
    return RetryLimits(settings.max_attempts, settings.source_retry_s)


def _record_fault(runtime: Runtime, code: FailureCode | None) -> None:
    """Show an internal fault in `/ready` until work succeeds again."""
    try:
        workers.record_fault(runtime.worker_name, code)
    except SQLAlchemyError as error:
        _log.warning("fault not recorded: %s", type(error).__name__)


def _release_lease(lease: Lease, reason: StopReason | None) -> None:
    if reason is StopReason.LOST:
        return
    leases.release(lease)
    if reason is StopReason.SHUTDOWN:
        wakeups.send(lease.kind)


def _app() -> Flask:
    """Return the app itself, for a thread that outlives this context."""
    proxy: Any = current_app
    app: Flask = proxy._get_current_object()  # noqa: SLF001 # Flask's way
    return app
