"""Files of uploads on the share, `uploads/<id>`: one each, written by one call at a time."""

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from worker_server import storage


class UploadBusy(Exception):
    """Another call is sending bytes of this upload."""


class UploadFileLost(Exception):
    """The share has fewer bytes of the upload than were confirmed."""


def upload_path(remote: Path, upload_id: uuid.UUID) -> Path:
    """Return where the upload's bytes are until a task has them."""
    return remote / "uploads" / str(upload_id)


@contextmanager
def locked_file(remote: Path, upload_id: uuid.UUID) -> Iterator[int]:
    """Open the upload's file, made where it is missing, and hold its lock; raise UploadBusy.

    flock(2): the kernel releases it when a process is killed; on NFSv4 the server holds it.
    """
    storage.require_mounted(remote)
    path = upload_path(remote, upload_id)
    path.parent.mkdir(exist_ok=True)
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UploadBusy("Another call is sending bytes of this upload.") from error
        if is_new:
            storage.sync_folder(path.parent)
        yield descriptor
    finally:
        os.close(descriptor)


def seek_to_confirmed(descriptor: int, confirmed_bytes: int) -> None:
    """Cut off what was never confirmed and go to the end; raise UploadFileLost."""
    if os.fstat(descriptor).st_size < confirmed_bytes:
        raise UploadFileLost
    os.ftruncate(descriptor, confirmed_bytes)
    os.lseek(descriptor, confirmed_bytes, os.SEEK_SET)


def link_source(remote: Path, upload_id: uuid.UUID, target: Path) -> None:
    """Give the upload's file a second name, `target`; raise FileNotFoundError where it is gone.

    A hard link instead of a rename: an attempt that fails removes `target` only, and the next one
    still finds the upload. The sweeper removes the upload's name once no task needs it.
    """
    storage.require_mounted(remote)
    target.hardlink_to(upload_path(remote, upload_id))


def remove_upload(remote: Path, upload_id: uuid.UUID) -> None:
    """Remove the upload's name on the share; raise OSError while the share is unavailable."""
    storage.require_mounted(remote)
    upload_path(remote, upload_id).unlink(missing_ok=True)
    storage.require_mounted(remote)


def old_uploads(remote: Path, min_age_s: float) -> list[uuid.UUID]:
    """Return the ids of the files that were last written over `min_age_s` ago."""
    try:
        names = storage.old_names(upload_path(remote, uuid.UUID(int=0)).parent, min_age_s)
    except FileNotFoundError:
        return []
    upload_ids = []
    for name in names:
        with suppress(ValueError):  # `.nfs…` names of the NFS client
            upload_ids.append(uuid.UUID(name))
    return upload_ids
