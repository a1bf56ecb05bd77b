"""Queues work again: retries of failed tasks, and clips and sources whose files are gone."""

import uuid

from sqlalchemy import func, select, update

from worker_server.db import retry_outages, transaction
from worker_server.errors import FailureCode, WorkFailed
from worker_server.models import Part, Task
from worker_server.models.statuses import UNFINISHED_PARTS, PartStatus, TaskStatus
from worker_server.queue import uploads
from worker_server.queue.claims import PartLease, TaskLease
from worker_server.queue.events import EventKind, record, record_attempt
from worker_server.queue.leases import leased_task_status, lock_task
from worker_server.queue.planning import NEVER
from worker_server.queue.quotas import Quotas
from worker_server.queue.retry_policy import History, RetryLimits, pause_s
from worker_server.queue.sql_common import Values, error_cleared, lease_cleared, seconds_from_now
from worker_server.queue.task_completion import close_if_finished

_NO_QUOTAS = Quotas()
# In these statuses unfinished parts will be rendered anyway; planning queues them.
_WILL_RENDER = (TaskStatus.QUEUED, TaskStatus.DOWNLOADING, TaskStatus.PROCESSING)


class NotFailed(Exception):
    """Only a failed task can be retried."""


def retry_task(owner_id: int, task_id: uuid.UUID, quotas: Quotas = _NO_QUOTAS) -> bool:
    """Queue a failed task again; its good clips stay.

    `quotas` are those of accounts that have none of their own. Raise NotFailed or QuotaExceeded;
    False when the owner has no such task.
    """
    values: Values = {
        "status": TaskStatus.QUEUED,
        "failures": 0,
        "progress": 0,
        "run_after": func.now(),
        "updated_at": func.now(),
        "finished_at": None,
        "waiting_since": None,
        "source_path": None,  # a removal of the file is under way
        **error_cleared(),
    }
    with transaction() as session:
        owned = select(Task.status, Task.url).where(Task.id == task_id, Task.owner_id == owner_id)
        task = session.execute(owned.with_for_update()).one_or_none()
        if task is None:
            return False
        if task.status != TaskStatus.FAILED:
            raise NotFailed("Only a failed task can be retried.")
        session.execute(update(Task).where(Task.id == task_id).values(values))
        own = quotas.of_account(session, owner_id)
        own.check_retry(session, owner_id, uploads.sources_of([task.url]))
        record(session, task_id, EventKind.RETRY_REQUESTED)
        return True


@retry_outages
def fetch_again(lease: PartLease, limits: RetryLimits) -> bool:
    """Queue the part's task again, as the file of its source is gone; its good clips stay.

    Its other parts wait, under no lease, until the task is planned again. False where the lease is
    lost or the task has ended.
    """
    with transaction() as session:
        lock_task(session, lease.task_id)
        if leased_task_status(lease) != TaskStatus.PROCESSING:
            return False
        code = FailureCode.STORAGE_UNAVAILABLE
        record_attempt(session, lease, EventKind.RETRIED, code)
        unfinished = update(Part).where(
            Part.task_id == lease.task_id, Part.status.in_(UNFINISHED_PARTS)
        )
        waits: Values = {"status": PartStatus.WAITING, "progress": 0, "run_after": NEVER}
        session.execute(unfinished.values({**waits, **error_cleared(), **lease_cleared()}))
        attempt = session.scalars(select(Task.attempt).where(Task.id == lease.task_id)).one()
        lost = WorkFailed(code, "The file of the source is gone.", retryable=True)
        pause = pause_s(TaskLease(lease.task_id, attempt), lost, History(0), limits) or 0
        values: Values = {
            "status": TaskStatus.QUEUED,
            "progress": 0,
            "run_after": seconds_from_now(pause),
            "source": None,
            "source_path": None,
            **lease_cleared(),
        }
        session.execute(update(Task).where(Task.id == lease.task_id).values(values))
        return True


def mark_clip_lost(task_id: uuid.UUID, number: int, path: str) -> bool | None:
    """Record that the clip's file is gone.

    True: it is rendered again, since the source is there or being fetched; False: it is lost; None:
    it was removed, as the task is deleted or being canceled.
    """
    columns = ("path", "size_bytes", "sha256", "crc32", "frames")
    gone: Values = {"progress": 0, **dict.fromkeys(columns)}
    where = (Part.task_id == task_id, Part.number == number, Part.path == path)
    with transaction() as session:
        task_status = lock_task(session, task_id)
        if task_status in (None, TaskStatus.CANCELING, TaskStatus.CANCELED):
            return None
        is_rendered = task_status == TaskStatus.PROCESSING
        status = PartStatus.WAITING if is_rendered else PartStatus.FAILED
        error = {} if is_rendered else _clip_lost_error()
        lost = update(Part).where(*where, Part.status == PartStatus.DONE)
        statement = lost.values({**gone, **error, "status": status, "run_after": func.now()})
        if session.scalar(statement.returning(Part.number)) is not None:
            record(session, task_id, EventKind.CLIP_LOST, FailureCode.CLIP_LOST)
            # Only a done task changes its status: it fails. Any other has failed, or is live.
            if task_status == TaskStatus.DONE:
                close_if_finished(session, task_id)
        return task_status in _WILL_RENDER


def _clip_lost_error() -> Values:
    message = "The clip's file is gone; POST /tasks/<id>/retry renders it again."
    return {"error_code": FailureCode.CLIP_LOST, "error_message": message}
