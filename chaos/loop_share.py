"""A share that can be filled, frozen, taken away or made read-only: a file system in a file.

It needs root and a loop device. The system's share is then a mount of its own, as in production.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SIZE_BYTES = 1024**3
_RETRY_S = 10


class CommandFailed(Exception):
    """A command of the system failed; the message is what it printed."""


@dataclass(frozen=True)
class LoopShare:
    """An ext4 file system on `device`, mounted at `folder`."""

    device: str
    folder: Path

    def freeze(self) -> None:
        """Block every write until `thaw`."""
        _run("fsfreeze", "--freeze", str(self.folder))

    def thaw(self) -> None:
        _run("fsfreeze", "--unfreeze", str(self.folder))

    def make_read_only(self) -> None:
        """Remount it read-only, as soon as no file is open for writing."""
        deadline = time.monotonic() + _RETRY_S
        while time.monotonic() < deadline:
            with suppress(CommandFailed):  # the mount is busy
                _run("mount", "-o", "remount,ro", str(self.folder))
                return
            time.sleep(0.02)
        raise CommandFailed("files of the share stay open for writing")

    def make_writable(self) -> None:
        _run("mount", "-o", "remount,rw", str(self.folder))

    def unmount(self) -> None:
        """Take it away from its folder, also while files of it are open."""
        _run("umount", "--lazy", str(self.folder))

    def mount(self) -> None:
        _run("mount", self.device, str(self.folder))


@contextmanager
def mounted(folder: Path, image: Path) -> Iterator[LoopShare]:
    """Mount a new file system at `folder` while the block runs, with the folder's own rights."""
    with image.open("wb") as file:
        file.truncate(SIZE_BYTES)
    _run("mkfs.ext4", "-q", "-m", "0", str(image))
    device = _run("losetup", "--find", "--show", str(image)).strip()
    try:
        share = LoopShare(device, folder)
        before = folder.stat()
        share.mount()
        try:
            os.chown(folder, before.st_uid, before.st_gid)
            folder.chmod(before.st_mode & 0o7777)
            (folder / "lost+found").rmdir()
            yield share
        finally:
            with suppress(CommandFailed):
                share.unmount()
    finally:
        _run("losetup", "--detach", device)


def unavailable(folder: Path) -> str | None:
    """Return why this machine has no such share, None where it has."""
    if os.geteuid() != 0:
        return "only root can mount a share"
    image = folder / "probe.img"
    target = folder / "probe"
    target.mkdir()
    try:
        with mounted(target, image):
            return None
    except (CommandFailed, OSError) as error:
        return f"no loop device can be mounted: {error}"
    finally:
        target.rmdir()
        image.unlink(missing_ok=True)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
