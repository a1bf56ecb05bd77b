"""Faults of the share: frozen, full, low, read-only, unmounted, with an unremovable file."""

import os
import shutil
import subprocess
from contextlib import suppress
from itertools import count
from pathlib import Path
from random import Random

from chaos.faults.base import Fault, NotInjected
from chaos.loop_share import CommandFailed, LoopShare
from chaos.target import RESERVE_BYTES, Target

_FILLER = ".filler"


class ShareFault(Fault):
    """A fault that needs the share on a loop device, and so root."""

    def unavailable(self, target: Target) -> str | None:
        return target.no_share_because


class ShareFrozen(ShareFault):
    """Every write blocks, as on a hard mount whose server is unavailable."""

    name = "share_frozen"
    hold_s = (8, 25)

    def inject(self, target: Target, random: Random) -> None:  # noqa: ARG002 # nothing to choose
        _share(target).freeze()

    def recover(self, target: Target) -> None:
        _share(target).thaw()


class ShareReadOnly(ShareFault):
    """Every write fails with EROFS."""

    name = "share_read_only"
    hold_s = (5, 12)

    def inject(self, target: Target, random: Random) -> None:  # noqa: ARG002 # nothing to choose
        try:
            _share(target).make_read_only()
        except CommandFailed as error:
            raise NotInjected(str(error)) from error

    def recover(self, target: Target) -> None:
        _share(target).make_writable()


class ShareUnmounted(ShareFault):
    """The folder of the share is there, and empty."""

    name = "share_unmounted"
    hold_s = (5, 12)

    def inject(self, target: Target, random: Random) -> None:  # noqa: ARG002 # nothing to choose
        _share(target).unmount()

    def recover(self, target: Target) -> None:
        if not os.path.ismount(target.home.share):
            _share(target).mount()


class ShareFull(ShareFault):
    """No byte is left: writes fail with ENOSPC."""

    name = "share_full"
    hold_s = (5, 12)
    left_bytes = 0

    def inject(self, target: Target, random: Random) -> None:  # noqa: ARG002 # nothing to choose
        stats = os.statvfs(target.home.share)
        size_bytes = stats.f_bavail * stats.f_frsize - self.left_bytes
        with (target.home.share / _FILLER).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size_bytes - 1024**2)
            if not self.left_bytes:
                _fill(file.fileno(), size_bytes - 1024**2)

    def recover(self, target: Target) -> None:
        (target.home.share / _FILLER).unlink(missing_ok=True)


class ShareLow(ShareFull):
    """Less is left than the reserve: nothing is accepted or claimed."""

    name = "share_low"
    left_bytes = RESERVE_BYTES // 2


class ShareWithoutInodes(ShareFault):
    """There is space, and no file can be made: ENOSPC."""

    name = "share_without_inodes"
    hold_s = (5, 12)

    def inject(self, target: Target, random: Random) -> None:  # noqa: ARG002 # nothing to choose
        folder = target.home.share / _FILLER
        folder.mkdir()
        with suppress(OSError):  # none is left
            for number in count():
                (folder / str(number)).touch()

    def recover(self, target: Target) -> None:
        shutil.rmtree(target.home.share / _FILLER, ignore_errors=True)


class FileUnremovable(ShareFault):
    """A file of a task cannot be removed, so neither can its folder."""

    name = "file_unremovable"
    hold_s = (5, 12)

    def __init__(self) -> None:
        self._path: Path | None = None

    def inject(self, target: Target, random: Random) -> None:
        files = [path for path in target.home.share.glob("*/*") if path.is_file()]
        if not files:
            raise NotInjected("no task has a file")
        self._path = random.choice(files)
        done = subprocess.run(["chattr", "+i", self._path], capture_output=True, check=False)
        if done.returncode:
            raise NotInjected("the file is gone")

    def recover(self, target: Target) -> None:  # noqa: ARG002 # the file is known
        if self._path is not None and self._path.exists():
            subprocess.run(["chattr", "-i", self._path], check=True)
        self._path = None


def _share(target: Target) -> LoopShare:
    if target.share is None:
        raise NotInjected("there is no share of its own")
    return target.share


def _fill(descriptor: int, offset: int) -> None:
    """Write the last free blocks one by one, until none is left."""
    while True:
        try:
            os.posix_fallocate(descriptor, offset, 4096)
        except OSError:
            return
        offset += 4096
