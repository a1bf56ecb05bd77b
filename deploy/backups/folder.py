"""One backup on disk: a folder with the dump, the share's files, and all checksums."""

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deploy.backups.failures import Failed

DUMP = "database.dump"
LEFT_OUT = "left_out.json"
_SUMS = "SHA256SUMS"
_SHARE = "share/"


@dataclass(frozen=True)
class Folder:
    """`sums` are the checksums by name; names of the share's files start with `share/`.

    SHA256SUMS is what sha256sum(1) writes and checks, so a backup can be checked without this
    program.
    """

    root: Path
    sums: dict[str, str]

    @classmethod
    def opened(cls, root: Path) -> Self:
        """Open a complete backup. Raises Failed for any other folder, and for a damaged dump."""
        try:
            lines = (root / _SUMS).read_text("utf-8").splitlines()
        except FileNotFoundError as error:
            raise Failed(
                "backup_incomplete", f"{root} is not a complete backup: it has no {_SUMS}"
            ) from error
        folder = cls(
            root, {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        )
        for name in (DUMP, LEFT_OUT):
            if not folder.is_whole(name):
                raise Failed("backup_damaged", f"{root / name} is damaged or missing")
        return folder

    @property
    def clips_and_sources(self) -> list[str]:
        """The paths, relative to the share, of all files in the backup."""
        return [name.removeprefix(_SHARE) for name in self.sums if name.startswith(_SHARE)]

    def on_disk(self, path: str) -> Path:
        return self.root / _SHARE / path

    def sum_of(self, path: str) -> str | None:
        return self.sums.get(_SHARE + path)

    def has(self, path: str) -> bool:
        return self.sum_of(path) is not None

    def add(self, path: str, digest: str) -> None:
        self.sums[_SHARE + path] = digest

    def is_whole(self, name: str) -> bool:
        """Return whether the file still has the content that was saved."""
        file = self.root / name
        return name in self.sums and file.is_file() and sha256_of(file) == self.sums[name]

    def left_out(self) -> dict[str, list[str]]:
        """Return the ids of tasks that were `deleted` or `canceled` during the backup.

        And the paths of files that were `lost`, which backups of earlier releases do not have.
        """
        left_out_ids: dict[str, list[str]] = json.loads((self.root / LEFT_OUT).read_text("utf-8"))
        return left_out_ids

    def close(self, left_out: dict[str, list[str]]) -> None:
        """Write the checksums, which make the backup complete."""
        (self.root / LEFT_OUT).write_text(json.dumps(left_out), "utf-8")
        for name in (DUMP, LEFT_OUT):
            self.sums[name] = sha256_of(self.root / name)
        lines = (f"{digest}  {name}\n" for name, digest in sorted(self.sums.items()))
        with (self.root / _SUMS).open("w", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())


def is_complete(root: Path) -> bool:
    """Return whether a backup was finished; it may have been damaged since."""
    return (root / _SUMS).is_file()


def lacks_files(root: Path) -> bool:
    """Return whether files that the database named were neither on the share nor saved before."""
    try:
        return bool(json.loads((root / LEFT_OUT).read_text("utf-8")).get("lost"))
    except (OSError, ValueError, AttributeError):
        return True  # damaged since: it does not count as one that has everything


def sha256_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def copy(source: Path, target: Path) -> str:
    """Copy a file and its folder with times, mode and (as root) owner; return its checksum."""
    if not target.parent.exists():
        target.parent.mkdir(parents=True)
        _copy_metadata(source.parent, target.parent)
    shutil.copyfile(source, target)
    with target.open("rb") as written:
        os.fsync(written.fileno())
    _copy_metadata(source, target)
    return sha256_of(target)


def _copy_metadata(source: Path, target: Path) -> None:
    shutil.copystat(source, target)
    if os.geteuid() == 0:
        file_stat = source.stat()
        with contextlib.suppress(PermissionError):  # a file server that maps owners by itself
            os.chown(target, file_stat.st_uid, file_stat.st_gid)
