"""Works off removals: files that no row needs are removed, and a cancel ends when they are gone."""

import logging
import uuid

from worker_server import storage
from worker_server.queue import removals
from worker_server.settings import Settings

_log = logging.getLogger(__name__)
_AT_ONCE = 100


def remove_due(settings: Settings) -> None:
    """Remove what is due; a task whose files cannot be removed does not delay the others."""
    for task_id in removals.due_removals(_AT_ONCE):
        remove_needless(settings, task_id)


def remove_needless(settings: Settings, task_id: uuid.UUID) -> None:
    """Remove what the task does not need, and note it; on a failure another try follows.

    Safe to run twice.
    """
    job = removals.begin(task_id)
    if job is None:
        return
    removed = storage.remove_files(settings.remote_folder, task_id, keep=job.kept)
    if removed.error is None:
        removals.finish(job, removed.freed_bytes)
        return
    extra = {"task_id": str(task_id), "error": type(removed.error).__name__}
    _log.warning("files are left: removing them is tried again", extra=extra)
    removals.postpone(job, removed.freed_bytes)
