"""What every piece of work has in common: it runs under a heartbeat, and however it ends, its row says so."""

import errno
import logging
import uuid
from collections.abc import Callable
from typing import Any

from flask import Flask, current_app
from sqlalchemy import Row

from idrl_common import request_ids
from worker_server import storage
from worker_server.errors import FailureCode, Stopped, WorkFailed
from worker_server.jobs.heartbeat import Heartbeat, worker_name
from worker_server.queue import leases, wakeups
from worker_server.queue.leases import Failure, Lease
from worker_server.settings import Settings

_log = logging.getLogger(__name__)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


Claim = Callable[[str, float], Row[Any] | None]


def claim_next(settings: Settings, claim: Claim) -> Row[Any] | None:
    """Take the work whose turn it is; None when there is none, or when the share is away."""
    if not storage.is_mounted(settings.remote_folder):
        _log.error("the share is not mounted: no work is taken")
        return None
    return claim(worker_name(), settings.lease_s)


def perform(
    lease: Lease, settings: Settings, request_id: str | None, work: Callable[[Heartbeat], None]
) -> None:
    """Do `work` under the lease; record a failure, hand the work back when told to stop, and tidy up in the end."""
    request_ids.task_id.set(str(lease.task_id))
    request_ids.request_id.set(request_id)
    extra = {"attempt": lease.attempt, "part": lease.number}
    _log.info("begin", extra=extra)
    with Heartbeat(
        _app(), lease, every_s=settings.heartbeat_s, lease_s=settings.lease_s
    ) as heartbeat:
        try:
            work(heartbeat)
        except Stopped:
            _leave(lease, heartbeat.reason)
            _log.info("left", extra={**extra, "reason": heartbeat.reason})
        except Exception as error:  # noqa: BLE001 # anything else would leave the row to time out
            failure = failure_of(error)
            ours = failure.code == "internal_error"
            said = {**extra, "code": failure.code, "detail": str(error)}
            _log.warning("failed", extra=said, exc_info=ours)
            leases.fail(lease, failure, settings.max_attempts)
        else:
            _log.info("end", extra=extra)
    tidy(settings, lease.task_id)


def failure_of(error: Exception) -> Failure:
    """Return what the row is to say of the exception, and whether another attempt may help."""
    failed = error if isinstance(error, WorkFailed) else _unexpected(error)
    return Failure(failed.code, failed.message, retryable=failed.retryable, counted=failed.counted)


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
    """Finish a cancel nobody else will finish, and remove the files that nobody needs any more. Safe to run twice."""
    leases.finish_cancel(task_id)
    kept = leases.files_to_keep(task_id)
    if kept is None:
        return
    if kept:
        storage.keep_only(settings.remote_folder, task_id, kept)
    else:
        storage.remove_task(settings.remote_folder, task_id)


def _leave(lease: Lease, reason: str | None) -> None:
    if reason == "lost":
        return
    leases.release(lease)
    if reason == "shutdown":
        wakeups.send(wakeups.FETCH if lease.number is None else wakeups.RENDER)


def _app() -> Flask:
    """Return the app itself, for a thread that outlives this context."""
    return current_app._get_current_object()  # type: ignore[attr-defined,no-any-return] # noqa: SLF001
