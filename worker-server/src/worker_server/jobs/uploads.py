"""Uploads as sources of tasks, and the removal of those that nothing needs."""

import logging
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from worker_server.errors import FailureCode, WorkFailed
from worker_server.queue import uploads
from worker_server.settings import Settings
from worker_server.upload_files import link_source, old_uploads, remove_upload, upload_path

_log = logging.getLogger(__name__)
_BATCH_SIZE = 100
_ORPHAN_AGE_S = 3600


def link_upload(upload_id: uuid.UUID, target: Path, settings: Settings) -> None:
    """Make the uploaded file the task's source; raise WorkFailed where it is gone."""
    try:
        link_source(settings.remote_folder, upload_id, target)
    except FileNotFoundError as error:
        # A removal that began before a retry may have removed the task's empty folder meanwhile.
        if upload_path(settings.remote_folder, upload_id).exists():
            raise
        message = "The uploaded file is no longer there; upload it again."
        raise WorkFailed(FailureCode.UPLOAD_GONE, message) from error


def remove_unneeded_uploads(settings: Settings) -> None:
    """Remove the files of uploads that are over."""
    for upload_id in _removed(uploads.due_removals(_BATCH_SIZE), settings):
        uploads.record_removed(upload_id)


def remove_orphaned_uploads(settings: Settings) -> None:
    """Remove files of uploads that have no row, and rows of uploads whose file is long gone."""
    uploads.delete_removed_rows()
    orphans = uploads.unknown_ids(old_uploads(settings.remote_folder, _ORPHAN_AGE_S))
    for upload_id in _removed(orphans, settings):
        _log.info("orphaned upload removed", extra={"upload_id": str(upload_id)})


def _removed(upload_ids: Iterable[uuid.UUID], settings: Settings) -> Iterator[uuid.UUID]:
    """Remove the files, and yield each upload whose file is gone.

    One that cannot be removed does not stop the removal of the others.
    """
    errors = []
    for upload_id in upload_ids:
        try:
            remove_upload(settings.remote_folder, upload_id)
        except OSError as error:
            errors.append(type(error).__name__)
        else:
            yield upload_id
    if errors:
        _log.warning("files of %d uploads not removed, retried later: %s", len(errors), errors[0])
