"""Files of root in a home, from a release that ran as root, are given to the system's user."""

import contextlib
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def has_files_of_root(folder: Path) -> bool:
    """Return whether root owns the folder or something directly in it."""
    if folder.lstat().st_uid == 0:
        return True
    return any(_is_owned_by_root(path) for path in folder.iterdir())


def _is_owned_by_root(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):  # a running system removes files
        return path.lstat().st_uid == 0
    return False


def give_to(user: pwd.struct_passwd, folder: Path) -> None:
    """Make the user the owner of what root owns in a folder, which comes last.

    The user may change its folders meanwhile, and may have put links to root's files there: every
    file is opened without following links, and changed by its descriptor. Where the user could
    have made a hard link, a file with further names stays root's. Others' folders are not entered.
    """
    # A link in a folder of root's is the operator's, as to a share that is mounted elsewhere.
    top = folder.resolve() if folder.parent.lstat().st_uid == 0 else folder
    with _opened(top, None) as descriptor:
        _give_opened(user, descriptor, in_root_folder=True)


@contextmanager
def _opened(name: Path | str, parent: int | None) -> Iterator[int]:
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _give_opened(user: pwd.struct_passwd, descriptor: int, *, in_root_folder: bool) -> None:
    status = os.fstat(descriptor)
    path = f"/proc/self/fd/{descriptor}"
    if stat.S_ISDIR(status.st_mode):
        if status.st_uid not in (0, user.pw_uid):
            return
        _give_entries(user, descriptor, of_root=status.st_uid == 0)
    elif status.st_nlink > 1 and not in_root_folder:
        return
    if status.st_uid == 0:
        with contextlib.suppress(PermissionError):  # a file server that takes root for nobody
            os.chown(path, user.pw_uid, user.pw_gid)


def _give_entries(user: pwd.struct_passwd, folder: int, *, of_root: bool) -> None:
    for path in Path(f"/proc/self/fd/{folder}").iterdir():
        with contextlib.suppress(FileNotFoundError), _opened(path.name, folder) as descriptor:
            _give_opened(user, descriptor, in_root_folder=of_root)
