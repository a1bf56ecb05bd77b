"""The share: where a task's files are, and how one becomes visible only when it is whole.

Every name holds the attempt that wrote it, so two workers never write the same file and no name is used twice.
"""

import os
import shutil
import subprocess
import uuid
from io import FileIO
from pathlib import Path

# Lies on the share itself, so that an unmounted folder is not taken for it.
MARKER = ".idrl-share"
_COPY_BYTES = 1024 * 1024
_asking: "subprocess.Popen[bytes] | None" = None


class ShareAway(Exception):
    """The share is not mounted, or does not answer."""


class FileRange(FileIO):
    """`length` bytes of a file from `start` on.

    A WSGI server has the kernel send them (sendfile), from where the descriptor stands; others read.
    """

    def __init__(self, path: Path, start: int, length: int) -> None:
        super().__init__(path)
        self.seek(start)
        self._left = length

    def read(self, size: int | None = -1, /) -> bytes:
        limit = self._left if size is None or size < 0 else min(size, self._left)
        found = super().read(limit) or b""
        self._left -= len(found)
        return found


def task_folder(remote: Path, task_id: uuid.UUID) -> Path:
    """Return the folder of everything that belongs to the task."""
    return remote / str(task_id)


def source_path(remote: Path, task_id: uuid.UUID, attempt: int) -> Path:
    """Return where this attempt downloads to."""
    return task_folder(remote, task_id) / f"source.{attempt}"


def part_path(remote: Path, task_id: uuid.UUID, number: int, attempt: int) -> Path:
    """Return where this attempt publishes the part."""
    return task_folder(remote, task_id) / f"{number}.{attempt}.mp4"


def is_mounted(remote: Path) -> bool:
    """Tell whether the folder is the share. Blocks while a hard-mounted server is away: see `check`."""
    return (remote / MARKER).exists()


def check(remote: Path, timeout_s: float = 2) -> None:
    """Raise ShareAway when the share does not answer in time; a child asks, since such a call cannot be interrupted."""
    global _asking  # one child for all callers: while the share hangs, none of them can be ended
    if _asking is not None and _asking.poll() is None:
        raise ShareAway("the share still does not answer")
    _asking = child = subprocess.Popen(["test", "-e", str(remote / MARKER)])  # noqa: S607 # any `test` will do
    try:
        code = child.wait(timeout_s)
    except subprocess.TimeoutExpired as error:
        child.kill()  # not waited for: it may hang in the kernel until the server is back
        raise ShareAway("the share does not answer") from error
    if code:
        raise ShareAway("the share is not mounted")


def publish(local: Path, target: Path) -> None:
    """Copy a finished file to the share; `target` appears at once and whole, and outlives a power cut.

    Raises OSError (ENOSPC may show at write, at fsync or at close), and leaves nothing behind then.
    """
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        with local.open("rb") as source, temporary.open("xb", buffering=0) as copy:
            shutil.copyfileobj(source, copy, _COPY_BYTES)
            os.fsync(copy.fileno())
        temporary.rename(target)
        _sync_folder(target.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_task(remote: Path, task_id: uuid.UUID) -> None:
    """Remove everything of the task. Safe to run twice, and while another process does."""
    folder = task_folder(remote, task_id)
    # A file that appears while its folder is emptied makes the last step fail: once more takes it along.
    for _ in range(3):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


def task_folders(remote: Path) -> list[tuple[uuid.UUID, float]]:
    """Return the task id and modification time (seconds since the epoch) of every task's folder on the share."""
    found = []
    for entry in os.scandir(remote):
        try:
            found.append((uuid.UUID(entry.name), entry.stat().st_mtime))
        except (ValueError, FileNotFoundError):
            continue
    return found


def _sync_folder(folder: Path) -> None:
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


def keep_only(remote: Path, task_id: uuid.UUID, names: set[str]) -> None:
    """Remove every file of the task but these."""
    for found in task_folder(remote, task_id).glob("*"):
        if found.name not in names:
            found.unlink(missing_ok=True)
