"""The use cases of the API: each changes rows, commits, then touches Redis or the share."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

from idrl_common.problems import Problem
from idrl_common.times import utc_text
from worker_server.api import batch_queries, queries
from worker_server.api.batch_queries import BatchNotFound, BatchRow
from worker_server.api.clip_queries import Clip, PartNotFound, PartNotReady
from worker_server.api.labels import default_name
from worker_server.api.queries import CountedTask, TaskNotFound, TaskWithParts
from worker_server.api.webhook_payloads import delete_with_payloads
from worker_server.db import fetch_json_within, transaction
from worker_server.errors import FailureCode
from worker_server.models import Batch, Task
from worker_server.queue import (
    batches,
    cancellation,
    changes,
    planning,
    requeueing,
    submissions,
    wakeups,
)
from worker_server.queue.batches import BatchSubmission
from worker_server.queue.cancellation import Deletion
from worker_server.queue.claims import Kind
from worker_server.queue.events import Event, list_events as list_task_events
from worker_server.queue.idempotency import IdempotentRequest, find_repeated
from worker_server.queue.planning import Editor
from worker_server.queue.quotas import LimitState, Quotas
from worker_server.queue.sql_common import Check, no_check
from worker_server.queue.submissions import Submission
from worker_server.share_monitor import ShareMonitor
from worker_server.storage import ShareFull

T = TypeVar("T")
# Fields whose ORM attribute has another name: SQLAlchemy reserves `metadata` on models.
_COLUMNS = {"metadata": "caller_metadata"}
_MAX_TRIES = 10
# After this a deletion leaves the rest to the next call: an answer takes 15 s at most.
_DELETION_S = 5.0


def admit(share: ShareMonitor, size_bytes: int = 0) -> None:
    """Raise a 503 Problem while the share has less than the reserve, or than `size_bytes`, left."""
    state = share.last()
    is_small = state.free_bytes is not None and state.free_bytes < size_bytes
    if is_small or isinstance(state.error, ShareFull):
        message = "The storage is full; tasks are accepted again when there is space."
        raise Problem(503, FailureCode.STORAGE_FULL, message, headers={"Retry-After": "60"})


def admit_write(share: ShareMonitor, size_bytes: int = 0) -> None:
    """As `admit`, for a call that writes to the share itself: 503 at once while the share hangs."""
    admit(share, size_bytes)
    if share.hangs():
        message = "The storage does not answer at the moment."
        raise Problem(503, FailureCode.STORAGE_UNAVAILABLE, message)


def blocked_by(share: ShareMonitor) -> FailureCode | None:
    """Return why workers claim no work now; None while the share is usable."""
    error = share.last().error
    return None if error is None else error.code


def submit_task(submission: Submission, quotas: Quotas) -> tuple[CountedTask, Sequence[LimitState]]:
    """Store the task and wake a worker; a repeated request returns the first one's task.

    Also return what is left of the owner's limits. Raise IdempotencyKeyReused or QuotaExceeded.
    """
    task, is_new, limits = submissions.create_task(submission, quotas)
    if is_new:
        wakeups.send_later(Kind.FETCH)
        return facts_of(task), limits
    # Where it was deleted meanwhile, the answer is the task as it was stored.
    return _read(queries.get_task, submission.owner_id, task.id) or facts_of(task), ()


def repeated_task(request: IdempotentRequest) -> TaskWithParts | None:
    """Return the task of an earlier request with this key; None where there is none.

    Raise IdempotencyKeyReused.
    """
    return _read(queries.get_task, request.owner_id, find_repeated(Task, request))


def repeated_batch(request: IdempotentRequest) -> tuple[BatchRow, list[str]] | None:
    """Return the batch of an earlier request with this key, and the ids of its tasks.

    None where there is none. Raise IdempotencyKeyReused.
    """
    return _read(batch_queries.get_batch, request.owner_id, find_repeated(Batch, request))


def _read(read: Callable[[int, uuid.UUID], T], owner_id: int, key: uuid.UUID | None) -> T | None:
    """Return what was found by the key; None where it was deleted meanwhile, or without a key."""
    try:
        return None if key is None else read(owner_id, key)
    except (TaskNotFound, BatchNotFound):
        return None


def submit_batch(
    submission: BatchSubmission, quotas: Quotas
) -> tuple[BatchRow, list[str], Sequence[LimitState]]:
    """Store the batch and wake workers; a repeated request returns the first one's batch.

    Raise IdempotencyKeyReused or QuotaExceeded.
    """
    for _ in range(_MAX_TRIES):
        with suppress(BatchNotFound):  # an earlier request's, deleted meanwhile
            return _submit_batch(submission, quotas)
    raise RuntimeError("batches with this Idempotency-Key are created and deleted all the time")


def _submit_batch(
    submission: BatchSubmission, quotas: Quotas
) -> tuple[BatchRow, list[str], Sequence[LimitState]]:
    """Store and read the batch in one transaction, so that no other call deletes it in between."""
    with transaction():
        batch_id, is_new, limits = batches.create_batch(submission, quotas)
        batch, task_ids = batch_queries.get_batch(submission.owner_id, batch_id, fetch_json_within)
    if is_new:
        for _ in submission.tasks:
            wakeups.send_later(Kind.FETCH)
    return batch, task_ids, limits


def delete_batch(owner_id: int, batch_id: uuid.UUID, check: Check = no_check) -> Deletion:
    """Abort the batch's live tasks and delete the others, for `_DELETION_S` at most.

    CANCELING where tasks are left then. Raise BatchNotFound, and what `check` raises.
    """
    deadline = time.monotonic() + _DELETION_S
    deletion = delete_with_payloads(partial(batches.delete_batch, owner_id, batch_id, check))
    if deletion is None:
        raise BatchNotFound
    while deletion.rest and time.monotonic() < deadline:
        delete_rest = partial(batches.delete_rest, owner_id, batch_id, deletion)
        deletion = delete_with_payloads(delete_rest)
    return Deletion.CANCELING if deletion.rest else deletion.outcome


def delete_task(owner_id: int, task_id: uuid.UUID, check: Check = no_check) -> Deletion:
    """Abort a live task, or delete a finished one; the sweeper removes its files.

    Raise TaskNotFound, and what `check` raises.
    """
    deletion = delete_with_payloads(partial(cancellation.delete_task, owner_id, task_id, check))
    if deletion is None:
        raise TaskNotFound
    return deletion


def change_task(
    owner_id: int,
    task_id: uuid.UUID,
    values: Mapping[str, object],
    editor: Editor | None,
    quotas: Quotas,
    check: Check = no_check,
) -> TaskWithParts:
    """Change what the owner may change of a task and return the task.

    With an `editor` a planned task is planned again. Raise TaskNotFound, NotPlanned or
    QuotaExceeded, and what `check` raises.
    """
    columns = {_COLUMNS.get(name, name): value for name, value in values.items()}
    queries.await_memory(owner_id, task_id)
    with transaction():
        if not changes.change_task(owner_id, task_id, columns, default_name, editor, quotas, check):
            raise TaskNotFound
        task = queries.get_task(owner_id, task_id, fetch_json_within)
    if editor is not None:
        wakeups.send_later(Kind.FETCH)
    return task


def start_task(owner_id: int, task_id: uuid.UUID) -> TaskWithParts:
    """Start a planned task and wake workers; a repeated call changes nothing.

    Raise TaskNotFound or NotPlanned.
    """
    queries.await_memory(owner_id, task_id)
    with transaction():
        waiting = planning.start_task(owner_id, task_id)
        if waiting is None:
            raise TaskNotFound
        task = queries.get_task(owner_id, task_id, fetch_json_within)
    for _ in range(min(waiting, wakeups.MAX_WAKEUPS)):
        wakeups.send_later(Kind.RENDER)
    return task


def retry_task(owner_id: int, task_id: uuid.UUID, quotas: Quotas) -> TaskWithParts:
    """Queue a failed task again and wake a worker.

    Raise TaskNotFound, NotFailed or QuotaExceeded.
    """
    queries.await_memory(owner_id, task_id)
    with transaction():
        if not requeueing.retry_task(owner_id, task_id, quotas):
            raise TaskNotFound
        task = queries.get_task(owner_id, task_id, fetch_json_within)
    wakeups.send_later(Kind.FETCH)
    return task


def record_lost_clip(clip: Clip) -> Exception:
    """Record that the clip's file is gone, and return what to answer.

    The clip is rendered again where the source is there.
    """
    is_rendered_again = record_lost_file(clip.task_id, clip.number, clip.path)
    if is_rendered_again is None:
        return PartNotFound("The task is being removed, and its clips with it.")
    if is_rendered_again:
        return PartNotReady("The clip's file was lost and is being made again.")
    message = "The clip's file was lost; POST /tasks/<id>/retry makes it again."
    return Problem(410, FailureCode.CLIP_LOST, message)


def record_lost_file(task_id: uuid.UUID, number: int, path: str) -> bool | None:
    """Record that a clip's file is gone; True: it is rendered again, None: its task is removed."""
    is_rendered_again = requeueing.mark_clip_lost(task_id, number, path)
    if is_rendered_again:
        wakeups.send_later(Kind.RENDER)
    return is_rendered_again


def list_events(owner_id: int, task_id: uuid.UUID, after: int, limit: int) -> list[Event]:
    """Return what happened to the task, oldest first; raise TaskNotFound."""
    events = list_task_events(owner_id, task_id, after, limit)
    if events is None:
        raise TaskNotFound
    return events


def facts_of(task: Task) -> CountedTask:
    """Return what the database would return of a task that no worker has claimed."""
    accepted_at = utc_text(task.created_at)
    return CountedTask(
        id=str(task.id),
        url=task.url,
        name=task.name,
        external_id=task.external_id,
        metadata=task.caller_metadata,
        edit=task.edit,
        callback_url=task.callback_url,
        status=task.status,
        progress=task.progress,
        attempt=task.attempt,
        error_code=None,
        error_message=None,
        source=None,
        canceled_in_ms=None,
        freed_bytes=None,
        run_after=accepted_at,
        created_at=accepted_at,
        started_at=None,
        start_requested_at=None,
        finished_at=None,
        updated_at=accepted_at,
        keep=False,
        starts_manually=task.starts_manually,
        expires_at=None,
        expires_soon=False,
        parts_total=0,
        parts_done=0,
        parts_progress=0,
        parts_waiting_for=None,
        parts_waiting_until=None,
    )
