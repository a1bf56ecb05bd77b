"""Carries out removals: deletes files that no row needs, and ends a cancel when they are gone."""

import logging
import uuid

from worker_server import storage
from worker_server.db import RowLocked
from worker_server.queue import removals
from worker_server.settings import Settings

_log = logging.getLogger(__name__)
_BATCH_SIZE = 100


def remove_due(settings: Settings) -> None:
    """Remove what is due; a task whose files cannot be removed does not delay the others."""
    for task_id in removals.due_removals(_BATCH_SIZE):
        remove_unneeded_files(settings, task_id)


def remove_unneeded_files(settings: Settings, task_id: uuid.UUID) -> None:
    """Remove files that the task does not need, and record that; a failure is tried again later.

    Safe to run twice.
    """
    if removals.begin(task_id) is None:
        return
    listed = _listed(settings, task_id)
    # Read again: while the share blocked the listing, a retry may have made files that are needed.
    job = removals.begin(task_id)
    if job is None:
        return
    removed = _remove(settings, job, listed)
    error = removed.error or _finish(job, removed.freed_bytes)
    if error is None:
        return
    extra = {"task_id": str(task_id), "error": type(error).__name__}
    _log.warning("task files not removed, retried later", extra=extra)
    removals.postpone(job, removed.freed_bytes)


def _finish(job: removals.RemovalJob, freed_bytes: int) -> RowLocked | None:
    """Record that the files are gone; return the error where the task is locked."""
    try:
        removals.finish(job, freed_bytes)
    except RowLocked as error:
        return error
    return None


def _listed(settings: Settings, task_id: uuid.UUID) -> frozenset[str] | OSError:
    try:
        return storage.list_files(settings.remote_folder, task_id)
    except OSError as error:
        return error


def _remove(
    settings: Settings, job: removals.RemovalJob, listed: frozenset[str] | OSError
) -> storage.Removed:
    if isinstance(listed, OSError):
        return storage.Removed(0, listed)
    return storage.remove_files(settings.remote_folder, job.task_id, listed, keep=job.kept)
