"""What every job does: claim under a lease, work under a heartbeat, record how the attempt ended, tidy up."""

import errno
import logging
import uuid
from collections.abc import Callable
from typing import TypeVar

from flask import Flask, current_app

from idrl_common import request_ids
from worker_server import storage
from worker_server.errors import FailureCode, Stopped, WorkFailed
from worker_server.jobs.heartbeat import Heartbeat, StopReason, worker_name
from worker_server.jobs.runtime import Runtime
from worker_server.queue import backlog, cancellation, leases, wakeups
from worker_server.queue.claims import Lease, TaskLease
from worker_server.settings import Settings

C = TypeVar("C")
_log = logging.getLogger(__name__)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def claim_next(settings: Settings, claim: Callable[[str, float], C | None]) -> C | None:
    """Claim the work whose turn it is; None when there is none, or when the share is away."""
    if not storage.is_mounted(settings.remote_folder):
        _log.error("no work is claimed: the share is not mounted")
        return None
    return claim(worker_name(), settings.lease_s)


def perform(
    lease: Lease,
    settings: Settings,
    runtime: Runtime,
    request_id: str | None,
    work: Callable[[Heartbeat], None],
) -> None:
    """Do `work` under the lease; record a failure, release the lease on a stop, and clean up at the end."""
    request_ids.task_id.set(str(lease.task_id))
    request_ids.request_id.set(request_id)
    extra = {"attempt": lease.attempt, "part": getattr(lease, "number", None)}
    _log.info("job begins", extra=extra)
    with Heartbeat(_app(), lease, settings, runtime.shutdown) as heartbeat:
        try:
            work(heartbeat)
        except Stopped:
            _leave(lease, heartbeat.reason)
            _log.info("job stopped", extra={**extra, "reason": str(heartbeat.reason)})
        except Exception as error:  # noqa: BLE001 # otherwise the row would wait for its lease to run out
            failure = failure_of(error)
            is_ours = failure.code == FailureCode.INTERNAL_ERROR
            fields = {**extra, "code": failure.code, "detail": str(error)}
            _log.warning("job failed", extra=fields, exc_info=is_ours)
            leases.fail(lease, failure, settings.max_attempts)
        else:
            _log.info("job ends", extra=extra)
    tidy(settings, lease.task_id)


def failure_of(error: Exception) -> WorkFailed:
    """Return what the row says of the exception, and whether another attempt may help."""
    return error if isinstance(error, WorkFailed) else _unexpected(error)


def _unexpected(error: Exception) -> WorkFailed:
    """Return the failure for an exception that no job raises on purpose: the storage's, or a bug of ours."""
    if not isinstance(error, OSError):
        return WorkFailed(
            FailureCode.INTERNAL_ERROR, "Something went wrong on our side.", retryable=True
        )
    if error.errno in _NO_SPACE:
        return WorkFailed(
            FailureCode.STORAGE_FULL, "There is no space left on the storage.", retryable=True
        )
    return WorkFailed(
        FailureCode.STORAGE_UNAVAILABLE, "The storage cannot be used just now.", retryable=True
    )


def tidy(settings: Settings, task_id: uuid.UUID) -> None:
    """Finish a cancel that waits for nothing else, and remove files that are not needed. Safe to run twice."""
    cancellation.finish_cancel(task_id)
    needed = backlog.needed_files(task_id)
    if needed is None:
        return
    if needed:
        storage.keep_only(settings.remote_folder, task_id, needed)
    else:
        storage.remove_task(settings.remote_folder, task_id)


def _leave(lease: Lease, reason: StopReason | None) -> None:
    if reason is StopReason.LOST:
        return
    leases.release(lease)
    if reason is StopReason.SHUTDOWN:
        wakeups.send(wakeups.FETCH if isinstance(lease, TaskLease) else wakeups.RENDER)


def _app() -> Flask:
    """Return the app itself, for a thread that outlives this context."""
    return current_app._get_current_object()  # type: ignore[attr-defined,no-any-return] # noqa: SLF001
