"""The share: where a task's files are, and how one becomes visible only when it is whole.

Every name holds the attempt that wrote it, so two workers never write the same file and no name is
used twice.
"""

import errno
import os
import shutil
import socket
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from worker_server.errors import FailureCode, Stopped

# A file on the share itself: the empty mount point of an unmounted share does not have it.
MARKER = ".idrl-share"
_COPY_BYTES = 1024 * 1024
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class ShareUnusable(Exception):
    """No work can be done with the share as it is; `code` is the fault that tasks then show."""

    code = FailureCode.STORAGE_UNAVAILABLE


class ShareAway(ShareUnusable):
    """The share is not mounted, cannot be written, or does not answer.

    `/ready` shows the name of this class, since 0.1.0.
    """


class ShareFull(ShareUnusable):
    """The share has less space left than the reserve."""

    code = FailureCode.STORAGE_FULL


class FileUnreadable(OSError):
    """The share has the file, and fails to read all of it: a bad sector, lost permissions."""


class FileRange(FileIO):
    """`length` bytes of a file from `start` on.

    gunicorn sends them by sendfile(2) from the descriptor's offset, which is set to `start`; other
    WSGI servers call `read`.
    """

    def __init__(
        self, path: Path, start: int, length: int, on_close: Callable[[], object] = lambda: None
    ) -> None:
        self._on_close = on_close
        super().__init__(path)
        self.seek(start)
        self._left = length

    def read(self, size: int | None = -1, /) -> bytes:
        limit = self._left if size is None or size < 0 else min(size, self._left)
        chunk = super().read(limit) or b""
        self._left -= len(chunk)
        return chunk

    def close(self) -> None:
        super().close()
        self._on_close()


def task_folder(remote: Path, task_id: uuid.UUID) -> Path:
    """Return the folder of everything that belongs to the task."""
    return remote / str(task_id)


def source_path(remote: Path, task_id: uuid.UUID, attempt: int) -> Path:
    """Return where this attempt downloads to."""
    return task_folder(remote, task_id) / f"source.{attempt}"


def part_path(remote: Path, task_id: uuid.UUID, number: int, attempt: int) -> Path:
    """Return where this attempt publishes the part."""
    return task_folder(remote, task_id) / f"{number}.{attempt}.mp4"


def poster_path(clip: Path) -> Path:
    """Return where the poster of a clip is published."""
    return clip.with_suffix(".jpg")


def is_mounted(remote: Path) -> bool:
    """Return whether the folder is the share. Blocks while a hard mount's server is down."""
    return (remote / MARKER).exists()


def file_is_gone(remote: Path, relative: str | Path) -> bool:
    """Return whether a file of the share is missing or empty; raise OSError without the share.

    A file server that lost power may leave an empty file, a restored database the name of one that
    was removed.
    """
    try:
        is_gone = (remote / relative).stat().st_size == 0
    except FileNotFoundError:
        is_gone = True
    if is_gone:
        require_mounted(remote)
    return is_gone


def check_readable(path: Path, should_stop: Callable[[], bool]) -> None:
    """Read the whole file; raise FileUnreadable, or Stopped once `should_stop` returned true."""
    try:
        with path.open("rb", buffering=0) as file:
            while file.read(_COPY_BYTES):
                if should_stop():
                    raise Stopped
    except OSError as error:
        raise FileUnreadable(error.errno, error.strerror) from error


def check_usable(remote: Path, reserve_bytes: int) -> int:
    """Write to the share and return its free bytes; raise ShareAway or ShareFull.

    Blocks while its server is down.
    """
    try:
        if not is_mounted(remote):
            raise ShareAway("the share is not mounted")
        free_bytes = _free_bytes(remote)
        if free_bytes < reserve_bytes:
            raise ShareFull(f"the share has {free_bytes} bytes left")
        probe = remote / f".probe.{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}"
        try:
            probe.write_bytes(b"1")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise ShareFull("the share has no space left") from error
        raise ShareAway(f"the share cannot be written: {error.strerror}") from error
    return free_bytes


def free_bytes_or_none(remote: Path) -> int | None:
    """Return the free bytes of the share, None if it cannot be read."""
    try:
        return _free_bytes(remote)
    except OSError:
        return None


def _free_bytes(remote: Path) -> int:
    stats = os.statvfs(remote)
    return stats.f_bavail * stats.f_frsize


def publish(local: Path, target: Path) -> int:
    """Copy a finished file to the share; `target` appears atomically and durably.

    Return its CRC-32, which a ZIP needs. Raises OSError (ENOSPC may show at write, at fsync or at
    close), and leaves nothing behind then.
    """
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        with local.open("rb") as source, temporary.open("xb", buffering=0) as copy:
            crc32 = _copy(source, copy)
            os.fsync(copy.fileno())
        temporary.rename(target)
        sync_folder(target.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return crc32


def write_within(timeout_s: float, write: Callable[[], None]) -> None:
    """Call `write` in a thread; raise ShareAway where it has not ended after `timeout_s`.

    A call that blocks on a hard mount cannot be interrupted, so its thread stays.
    """
    errors: list[BaseException] = []

    def run() -> None:
        try:
            write()
        except BaseException as error:  # noqa: BLE001 # raised again where the caller waits
            errors.append(error)

    thread = threading.Thread(target=run, name="share-write", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if errors:
        raise errors[0]
    if thread.is_alive():
        raise ShareAway("the share does not answer")


def _copy(source: BinaryIO, copy: FileIO) -> int:
    """Copy all bytes and return their CRC-32."""
    crc32 = 0
    while chunk := source.read(_COPY_BYTES):
        crc32 = zlib.crc32(chunk, crc32)
        write_all(copy.fileno(), chunk)
    return crc32


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`; one call of write(2) may write less."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


@dataclass(frozen=True)
class Removed:
    """What a removal freed, and the error of the first file that it could not remove."""

    freed_bytes: int
    error: OSError | None = None


def list_files(remote: Path, task_id: uuid.UUID) -> frozenset[str]:
    """Return the names of the task's files; raise OSError while the share is unavailable."""
    require_mounted(remote)
    try:
        return frozenset(entry.name for entry in os.scandir(task_folder(remote, task_id)))
    except FileNotFoundError:
        return frozenset()


def remove_files(
    remote: Path, task_id: uuid.UUID, names: Collection[str], *, keep: Collection[str] = ()
) -> Removed:
    """Remove files of the task but those in `keep`, and its folder if nothing is kept.

    Safe to run twice, and while another process does. A file that cannot be removed does not stop
    the removal of the others.
    """
    folder, freed_bytes, first_error = task_folder(remote, task_id), 0, None
    for name in set(names) - set(keep):
        try:
            freed_bytes += _remove(folder / name)
        except OSError as error:
            first_error = first_error or error
    if first_error is None and not keep:
        first_error = _remove_folder(folder)
    try:
        require_mounted(remote)  # if the share was unmounted, the file is not really missing
    except OSError as error:
        first_error = first_error or error
    return Removed(freed_bytes, first_error)


def require_mounted(remote: Path) -> None:
    """Raise OSError while the share is not mounted: its files only seem gone then."""
    if not is_mounted(remote):
        raise OSError(errno.ENODEV, "the share is not mounted")


def _remove(path: Path) -> int:
    """Remove a file, or a folder and its contents; return its size, 0 if it was gone."""
    try:
        size_bytes = path.lstat().st_size
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
            return 0
        path.unlink()
    except FileNotFoundError:
        return 0
    return size_bytes


def _remove_folder(folder: Path) -> OSError | None:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return None
    except OSError as error:  # a file was created concurrently
        return error
    return None


def task_folders(remote: Path) -> list[tuple[uuid.UUID, float]]:
    """Return id and modification time (Unix seconds) of every task's folder on the share."""
    folders = []
    for entry in os.scandir(remote):
        try:
            folders.append((uuid.UUID(entry.name), entry.stat().st_mtime))
        except (ValueError, FileNotFoundError):
            continue
    return folders


def old_names(folder: Path, min_age_s: float) -> list[str]:
    """Return the names of the folder's files last written over `min_age_s` ago."""
    modified_before = time.time() - min_age_s
    names = []
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):  # removed meanwhile
            if entry.stat().st_mtime < modified_before:
                names.append(entry.name)
    return names


def sync_folder(folder: Path) -> None:
    """Fsync the folder, so that created and renamed entries survive a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_source(remote: Path, task_id: uuid.UUID, attempt: int) -> None:
    """Remove what an attempt downloaded, and what was made of it."""
    path = source_path(remote, task_id, attempt)
    for name in (path.name, f"{path.name}.remuxed"):
        path.with_name(name).unlink(missing_ok=True)
