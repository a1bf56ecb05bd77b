"""Folders on the local disk in which clips are encoded, named after their process's pid."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch_folder(root: Path) -> Iterator[Path]:
    """Make a folder below `root` for the block, and remove those of dead processes."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    _remove_leftovers(root)
    folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}.", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers(root: Path) -> None:
    for entry in os.scandir(root):
        pid = entry.name.partition(".")[0]
        if pid.isdigit() and not _is_alive(int(pid)):
            shutil.rmtree(entry.path, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
