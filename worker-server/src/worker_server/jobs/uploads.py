"""Uploads as sources of tasks, and the removal of those that nothing needs."""

import logging
import uuid
from pathlib import Path

from worker_server.errors import FailureCode, WorkFailed
from worker_server.queue import uploads
from worker_server.settings import Settings
from worker_server.upload_files import link_source, old_uploads, remove_upload

_log = logging.getLogger(__name__)
_AT_ONCE = 100
_STRAY_AGE_S = 3600


def take_upload(upload_id: uuid.UUID, target: Path, settings: Settings) -> None:
    """Make the uploaded file the task's source; raise WorkFailed where it is gone."""
    try:
        link_source(settings.remote_folder, upload_id, target)
    except FileNotFoundError as error:
        sentence = "The uploaded file is no longer there; upload it again."
        raise WorkFailed(FailureCode.UPLOAD_GONE, sentence) from error


def remove_needless_uploads(settings: Settings) -> None:
    """Remove the files of uploads that are over, and forget the oldest rows."""
    for upload_id in uploads.due_removals(_AT_ONCE):
        try:
            remove_upload(settings.remote_folder, upload_id)
        except OSError as error:
            _log.warning("an upload's file is left: %s", type(error).__name__)
            return
        uploads.note_removed(upload_id)


def remove_stray_uploads(settings: Settings) -> None:
    """Remove files of uploads that no row knows, and forget rows of removed ones."""
    uploads.forget_removed()
    for upload_id in uploads.unknown_ids(old_uploads(settings.remote_folder, _STRAY_AGE_S)):
        remove_upload(settings.remote_folder, upload_id)
