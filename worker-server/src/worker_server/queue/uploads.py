"""Rows of uploads: confirmed bytes, the task that uses one, and when its file is removed."""

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import (
    ColumnElement,
    and_,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from idrl_common.cursors import Position, newest_first
from worker_server.db import transaction
from worker_server.models import Task, Upload
from worker_server.queue import totals, usage
from worker_server.queue.quotas import Quotas, lock_owner
from worker_server.queue.sql_common import ScopedSession, may_still_render
from worker_server.queue.statements import for_each_page, load

# How long to keep: an upload after its last byte, unless a task uses it; the file of a failed task,
# which may be retried; the row of an upload whose file is gone.
KEPT_HOURS = 24
MAX_OPEN = 1000
URL_PREFIX = "upload:"
# The file of an expired upload stays for longer: a transaction that gives the upload to a task may
# have begun before it expired.
_GRACE = timedelta(minutes=1)
_DELETE_REMOVED = load("delete_removed_uploads")
# Name of an upload without a file name.
_NO_NAME = "upload"


class UploadNotFound(Exception):
    """The owner has no such upload."""

    def __init__(self) -> None:
        super().__init__("There is no such upload.")


class UploadGone(Exception):
    """The upload has expired or was deleted."""

    def __init__(self) -> None:
        super().__init__("The upload has expired or was deleted; upload the file again.")


class UploadUsed(Exception):
    """A task uses the upload."""


class UploadUnfinished(Exception):
    """Bytes of the upload are missing."""


class OffsetChanged(Exception):
    """The upload's row is no longer as the call found it."""


class TooManyUploads(Exception):
    """The account has the maximum number of uploads that no task uses."""


@dataclass(frozen=True)
class NewUpload:
    """An upload to be accepted; `metadata` is the header of the call."""

    owner_id: int
    length_bytes: int
    name: str | None
    metadata: str | None


_EXPIRY = func.now() + timedelta(hours=KEPT_HOURS)
_IS_UNUSED = usage.UPLOAD_IS_UNUSED
# The file of a task that was deleted is removed soon, and the row only later.
_IS_GONE = or_(
    Upload.deleted_at.is_not(None),
    and_(Upload.task_id.is_(None), ~_IS_UNUSED),
    and_(Upload.task_id.is_not(None), ~exists().where(Task.id == Upload.task_id)),
)


def source_url(upload_id: uuid.UUID) -> str:
    """Return what a task of this upload has as its URL; no caller's URL has this scheme."""
    return f"{URL_PREFIX}{upload_id}"


def upload_of(url: str) -> uuid.UUID | None:
    """Return the upload that the task's URL names, None for any other URL."""
    return uuid.UUID(url.removeprefix(URL_PREFIX)) if url.startswith(URL_PREFIX) else None


def sources_of(urls: Iterable[str]) -> set[uuid.UUID]:
    """Return the uploads that tasks with these URLs read."""
    return {each for each in map(upload_of, urls) if each is not None}


def create(upload: NewUpload, quotas: Quotas) -> Upload:
    """Accept an upload; raise TooManyUploads or QuotaExceeded."""
    row = {
        "id": uuid.uuid4(),
        "owner_id": upload.owner_id,
        "name": upload.name,
        "tus_metadata": upload.metadata,
        "length_bytes": upload.length_bytes,
        "expires_at": _EXPIRY,
    }
    with transaction() as session:
        lock_owner(session, upload.owner_id)
        created = session.scalars(insert(Upload).values(row).returning(Upload)).one()
        if count_unused(session, upload.owner_id) > MAX_OPEN:
            raise TooManyUploads(f"This account may have at most {MAX_OPEN} unused uploads.")
        own = quotas.of_account(session, upload.owner_id)
        own.check_new_bytes(session, upload.owner_id, upload.length_bytes)
        return created


def count_unused(session: ScopedSession, owner_id: int) -> int:
    """Return how many uploads no task has."""
    owned = select(func.count()).where(Upload.owner_id == owner_id, _IS_UNUSED)
    return session.scalar(owned) or 0


def find(owner_id: int, upload_id: uuid.UUID) -> Upload:
    """Return the upload; raise UploadNotFound or UploadGone."""
    with transaction() as session:
        return _find(session, owner_id, upload_id)


def _find(session: ScopedSession, owner_id: int, upload_id: uuid.UUID) -> Upload:
    owned = select(Upload, _IS_GONE).where(Upload.id == upload_id, Upload.owner_id == owner_id)
    row = session.execute(owned).tuples().one_or_none()
    if row is None:
        raise UploadNotFound
    upload, is_gone = row
    if is_gone:
        raise UploadGone
    return upload


def refusals(owner_id: int, upload_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Exception]:
    """Return the uploads that no task can use, each with the exception that says why."""
    if not upload_ids:
        return {}
    owned = select(Upload, _IS_GONE).where(Upload.id.in_(upload_ids), Upload.owner_id == owner_id)
    with transaction() as session:
        rows = session.execute(owned).all()
    stored = {upload.id: _refusal(upload, is_gone=is_gone) for upload, is_gone in rows}
    refused = {each: stored.get(each, UploadNotFound()) for each in upload_ids}
    return {each: error for each, error in refused.items() if error is not None}


def _refusal(upload: Upload, *, is_gone: bool) -> Exception | None:
    if is_gone:
        return UploadGone()
    if upload.task_id is not None:
        return _used(upload.id)
    return None if upload.is_finished else _unfinished(upload)


def _used(upload_id: uuid.UUID) -> UploadUsed:
    return UploadUsed(f"A task already uses the upload {upload_id}.")


def _unfinished(upload: Upload) -> UploadUnfinished:
    message = f"The upload {upload.id} has {upload.offset_bytes} of {upload.length_bytes} bytes."
    return UploadUnfinished(message)


def list_unused(owner_id: int, limit: int, after: Position | None = None) -> list[Upload]:
    """Return the uploads after the position `after` that no task has, newest first."""
    owned = select(Upload).where(Upload.owner_id == owner_id, _IS_UNUSED)
    page = newest_first(owned, (Upload.created_at, Upload.id), limit, after)
    with transaction() as session:
        return list(session.scalars(page))


def confirm(upload_id: uuid.UUID, from_bytes: int, to_bytes: int) -> Upload:
    """Record that the bytes are on the disk, and count them; raise OffsetChanged."""
    values = {"offset_bytes": to_bytes, "expires_at": _EXPIRY}
    owned = update(Upload).where(
        Upload.id == upload_id, Upload.offset_bytes == from_bytes, _IS_UNUSED
    )
    with transaction() as session:
        upload = session.scalar(owned.values(values).returning(Upload))
        if upload is None:
            raise OffsetChanged("Another call has changed the upload; get its offset by HEAD.")
        totals.add(session, (totals.BYTES, ("in",), to_bytes - from_bytes))
        return upload


def delete_upload(owner_id: int, upload_id: uuid.UUID) -> None:
    """Delete the upload; the sweeper removes its file.

    Raise UploadNotFound, UploadGone or UploadUsed.
    """
    with transaction() as session:
        owned = update(Upload).where(
            Upload.id == upload_id, Upload.owner_id == owner_id, _IS_UNUSED
        )
        deleted = session.scalar(owned.values(deleted_at=func.now()).returning(Upload.id))
    if deleted is None and find(owner_id, upload_id):
        raise UploadUsed("A task uses this upload; delete the task.")


def give_up(upload_id: uuid.UUID) -> None:
    """End an upload that cannot be continued; the sweeper removes its file."""
    with transaction() as session:
        session.execute(
            update(Upload).where(Upload.id == upload_id, _IS_UNUSED).values(deleted_at=func.now())
        )


def use_for_task(session: ScopedSession, owner_id: int, url: str, task_id: uuid.UUID) -> str | None:
    """Give the upload that `url` names to the task, within the caller's transaction.

    Return the name that it gives to an unnamed task, None if `url` names no upload. Raise
    UploadNotFound, UploadGone, UploadUsed or UploadUnfinished.
    """
    upload_id = upload_of(url)
    if upload_id is None:
        return None
    is_whole = Upload.offset_bytes == Upload.length_bytes
    owned = update(Upload).where(
        Upload.id == upload_id, Upload.owner_id == owner_id, _IS_UNUSED, is_whole
    )
    used = session.execute(owned.values(task_id=task_id).returning(Upload.name)).one_or_none()
    if used is not None:
        name = used.name or _NO_NAME
        unnamed = update(Task).where(Task.id == task_id, Task.name.is_(None))
        session.execute(unnamed.values(name=name))
        return name
    upload = _find(session, owner_id, upload_id)
    raise _used(upload_id) if upload.is_finished else _unfinished(upload)


def default_name(session: ScopedSession, url: str) -> str | None:
    """Return the default name of the upload's task, None for any other URL.

    Once the file is removed, the upload's own name is deleted, and `upload` is returned.
    """
    upload_id = upload_of(url)
    if upload_id is None:
        return None
    return session.scalar(select(Upload.name).where(Upload.id == upload_id)) or _NO_NAME


def due_removals(limit: int) -> list[uuid.UUID]:
    """Return uploads whose file is to be removed now, in random order.

    Otherwise files that cannot be removed would fill every batch.
    """
    query = select(Upload.id).where(
        Upload.removed_at.is_(None),
        or_(
            Upload.deleted_at.is_not(None),
            and_(Upload.task_id.is_(None), Upload.expires_at <= func.now() - _GRACE),
            and_(Upload.task_id.is_not(None), ~exists().where(_task_needs_file())),
        ),
    )
    with transaction() as session:
        return list(session.scalars(query.order_by(func.random()).limit(limit)))


def record_removed(upload_id: uuid.UUID) -> None:
    """Record that the file is gone; the row stays for a while, without name and metadata."""
    values = {"removed_at": func.now(), "name": None, "tus_metadata": None}
    with transaction() as session:
        session.execute(update(Upload).where(Upload.id == upload_id).values(values))


def delete_removed_rows() -> None:
    """Remove rows of uploads whose files went KEPT_HOURS ago, unless a task still names them."""
    for_each_page(_DELETE_REMOVED, KEPT_HOURS)


def unknown_ids(upload_ids: Collection[uuid.UUID]) -> list[uuid.UUID]:
    """Return the ids that no row with a file has."""
    with transaction() as session:
        known = select(Upload.id).where(Upload.id.in_(upload_ids), Upload.removed_at.is_(None))
        return list(set(upload_ids) - set(session.scalars(known)))


def _task_needs_file() -> ColumnElement[bool]:
    """Return whether the upload's task may still read the file."""
    return and_(Task.id == Upload.task_id, may_still_render(KEPT_HOURS))
