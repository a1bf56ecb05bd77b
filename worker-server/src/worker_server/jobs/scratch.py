"""Folders on the local disk in which clips are encoded, named after their process's pid."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from idrl_common import processes


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
        if pid.isdigit() and processes.started_at(int(pid)) is None:
            shutil.rmtree(entry.path, ignore_errors=True)
