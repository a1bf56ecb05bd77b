"""Makes a backup.

A clip is immutable once a row names it, and its path is never reused, so a file that an earlier
backup has is linked, not copied. Files are copied in two passes: all of them first, which may take
hours, then those that appeared since, right after the dump. A file that the dump names and that is
missing then was removed in between; the live database says why. A file that the share has lost is
taken from the backup before, which may have the only copy of it.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from deploy.backups.database import Database, StoredFile
from deploy.backups.failures import Failed
from deploy.backups.folder import DUMP, Folder, copy, is_complete, lacks_files, sha256_of
from deploy.backups.settings import Settings

_NAME = "%Y-%m-%dT%H-%M-%S.%fZ"
_UNFINISHED = ".partial"


def back_up(settings: Settings) -> bool:
    """Make a backup; return whether it has every file that the database names."""
    if settings.backups is None:
        raise Failed("setting_missing", "BACKUP_FOLDER is not set, the folder that backups go to")
    settings.check_share()
    database = Database(settings.libpq)
    with _backup_lock(settings.backups):
        earlier = _complete(settings.backups)
        name = datetime.now(UTC).strftime(_NAME)
        new = Folder(settings.backups / f"{name}{_UNFINISHED}", {})
        new.root.mkdir(mode=0o700)
        previous = _opened(earlier[-1]) if earlier else None
        gone = _copy(database.stored_files(), settings.share, new, previous)
        kept = [file for file in gone if new.has(file.path)]
        gone = kept + _copy(database.dump(new.root / DUMP), settings.share, new, previous)
        settings.check_share()  # unmounted since, its files would look lost
        lost = _still_named(database, gone)
        missing = [file for file in gone if not new.has(file.path)]
        absent = [path for path in lost if not new.has(path)]
        new.close({**_left_out(database, missing), "lost": absent})
        new.root.rename(settings.backups / name)
        _remove(_surplus([*earlier, settings.backups / name], settings.keep))
    print(
        f"saved {settings.backups / name}: the database and"
        f" {len(new.clips_and_sources)} files of the share"
    )
    for path in lost:
        copy_kept = "" if path in absent else "; this backup has it from an earlier one"
        print(f"lost: {path} is missing on the share, or differs from what was made{copy_kept}")
    return not lost


def _surplus(complete: list[Path], keep: int) -> list[Path]:
    """Return the backups to remove: of those that lack files, and of the others, the oldest.

    Counted apart, since the ones that lack files must not replace those that still have them.
    """
    lacking = [folder for folder in complete if lacks_files(folder)]
    others = [folder for folder in complete if folder not in lacking]
    return [*lacking[:-keep], *others[:-keep]]


@contextmanager
def _backup_lock(backups: Path) -> Iterator[None]:
    """Lock out other backups, and remove what an interrupted one left."""
    backups.mkdir(parents=True, mode=0o700, exist_ok=True)
    with (backups / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Failed("backup_running", f"another backup to {backups} is running") from error
        _remove(_unfinished(backups))
        try:
            yield
        finally:
            _remove(_unfinished(backups))


def _unfinished(backups: Path) -> list[Path]:
    paths = backups.glob(f"*{_UNFINISHED}")
    return [path for path in paths if _is_name(path.name.removesuffix(_UNFINISHED))]


def _complete(backups: Path) -> list[Path]:
    return sorted(path for path in backups.iterdir() if _is_name(path.name) and is_complete(path))


def _is_name(name: str) -> bool:
    """Return whether a backup has this name: other files and folders are not to be touched."""
    try:
        datetime.strptime(name, _NAME).replace(tzinfo=UTC)
    except ValueError:
        return False
    return True


def _opened(earlier: Path) -> Folder | None:
    try:
        return Folder.opened(earlier)
    except Failed as failure:
        print(f"the previous backup is not reused: {failure}")
        return None


def _copy(
    listed: list[StoredFile], share: Path, new: Folder, previous: Folder | None
) -> list[StoredFile]:
    """Link or copy all files; return those that the share has lost, as far as it is known.

    These are missing there, differ from their checksum or cannot be read, and may have been linked
    from the previous backup nevertheless.
    """
    return [
        file
        for file in listed
        if not new.has(file.path) and not _link_or_copy(file, share, new, previous)
    ]


def _link_or_copy(file: StoredFile, share: Path, new: Folder, previous: Folder | None) -> bool:
    """Save the file; return whether the share still has it."""
    stored = share / file.path
    if previous and _fits(previous.on_disk(file.path), stored) and _link(file, new, previous):
        return True
    if _copy_stored(file, stored, new):
        return True
    if previous and (file.sha256 or not stored.exists()):
        _take_saved(file, new, previous)
    return False


def _take_saved(file: StoredFile, new: Folder, previous: Folder) -> None:
    """Link the saved file; copy it where the file system has no links."""
    digest = previous.sum_of(file.path)
    if digest is None or file.sha256 not in ("", digest):
        return
    if not _link(file, new, previous):
        _copy_stored(replace(file, sha256=digest), previous.on_disk(file.path), new)


def _copy_stored(file: StoredFile, stored: Path, new: Folder) -> bool:
    """Copy the file unless it is missing, differs from its checksum or cannot be read."""
    target = new.on_disk(file.path)
    try:
        digest = copy(stored, target)
    except OSError as error:
        if not isinstance(error, FileNotFoundError) and not _is_unreadable(stored):
            raise
        target.unlink(missing_ok=True)
        return False
    if file.sha256 not in ("", digest):
        target.unlink()
        return False
    new.add(file.path, digest)
    return True


def _is_unreadable(stored: Path) -> bool:
    """Return whether the disk below the share has lost the content, as by a bad sector."""
    try:
        sha256_of(stored)
    except OSError as error:
        return error.errno in (errno.EIO, errno.EUCLEAN, errno.EBADMSG)
    return False


def _fits(saved: Path, stored: Path) -> bool:
    """Return whether the stored file is there, and as long as the saved one."""
    try:
        return saved.stat().st_size == stored.stat().st_size
    except FileNotFoundError:
        return False


def _link(file: StoredFile, new: Folder, previous: Folder) -> bool:
    digest = previous.sum_of(file.path)
    if digest is None or file.sha256 not in ("", digest):
        return False
    target = new.on_disk(file.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(previous.on_disk(file.path), target)
    except OSError:  # a file system without links, or the earlier backup lacks the file
        return False
    shutil.copystat(previous.on_disk(file.path).parent, target.parent)
    new.add(file.path, digest)
    return True


def _still_named(database: Database, missing: list[StoredFile]) -> list[str]:
    """Return those of the missing files that the database still names."""
    if not missing:
        return []
    still = {file.path for file in database.stored_files()}
    return [file.path for file in missing if file.path in still]


def _left_out(database: Database, missing: list[StoredFile]) -> dict[str, list[str]]:
    """Return the tasks that were deleted or canceled since the dump."""
    tasks = sorted({file.task_id for file in missing if file.task_id})
    if not tasks:
        return {"deleted": [], "canceled": []}
    statuses = dict(database.execute("SELECT id, status FROM tasks;"))
    return {
        "deleted": [task for task in tasks if task not in statuses],
        "canceled": [task for task in tasks if statuses.get(task) in ("canceling", "canceled")],
    }


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        # Renamed first: a partial backup must not look complete.
        unfinished = (
            folder
            if folder.name.endswith(_UNFINISHED)
            else folder.with_name(folder.name + _UNFINISHED)
        )
        folder.rename(unfinished)
        shutil.rmtree(unfinished)
