"""What an earlier backup still has outlives the loss of a file on the share."""

from __future__ import annotations

import errno
import os
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from deploy.backups import backup
from deploy.backups.database import StoredFile
from deploy.backups.folder import Folder

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from conftest import Installation, Saved


def folders(backups: Path) -> list[Path]:
    return sorted(path for path in backups.iterdir() if path.is_dir())


def copies(backups: Path, task: UUID) -> list[bytes]:
    return [(path).read_bytes() for path in sorted(backups.glob(f"*/share/{task}/0.1.mp4"))]


@pytest.mark.parametrize("damage", ["cut off", "missing"])
def test_saved_copy_of_a_lost_clip_stays(
    live: Installation, saved: Saved, backups: Path, damage: str
) -> None:
    live.changed = {"BACKUP_KEEP": "2"}
    task = live.add_task()
    content = live.clip(task).read_bytes()
    saved()
    live.clip(task).write_bytes(content[:500]) if damage == "cut off" else live.clip(task).unlink()
    for _ in range(3):
        live.run("backup")
    assert content in copies(backups, task)


def test_incomplete_backups_do_not_remove_complete_ones(
    live: Installation, saved: Saved, backups: Path
) -> None:
    live.changed = {"BACKUP_KEEP": "2"}
    lost = live.add_task("processing", "done waiting", source=True)
    complete = saved()
    (live.share / str(lost) / "source.1").write_bytes(b"cut off")
    (complete / "database.dump").write_bytes(b"rot")  # so that nothing is taken from it
    live.clip(lost).unlink()
    made = [live.run("backup").returncode for _ in range(3)]
    assert made == [3, 3, 3]
    assert complete in folders(backups)


def test_clip_with_a_bad_sector_is_lost_and_the_rest_is_saved(
    live: Installation, backups: Path
) -> None:
    kept, unreadable = live.add_task(), live.add_task()
    live.clip(unreadable).unlink()
    live.clip(unreadable).symlink_to("/proc/self/mem")  # each read of its start is EIO
    done = live.run("backup")
    assert done.returncode == 3, done.stderr
    assert f"lost: {unreadable}/0.1.mp4" in done.stdout
    assert copies(backups, kept) == [live.clip(kept).read_bytes()]


@pytest.mark.parametrize("named", [True, False])
def test_saved_copy_is_taken_where_the_file_system_has_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, named: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    digest = sha256(b"a clip").hexdigest()
    previous = Folder(tmp_path / "previous", {"share/t/0.1.mp4": digest})
    previous.on_disk("t").mkdir(parents=True)
    previous.on_disk("t/0.1.mp4").write_bytes(b"a clip")
    new = Folder(tmp_path / "new", {})
    file = StoredFile("t/0.1.mp4", digest if named else "", "t")
    assert backup._copy([file], tmp_path / "share", new, previous) == [file]
    assert new.on_disk("t/0.1.mp4").read_bytes() == b"a clip"
    previous.on_disk("t/0.1.mp4").write_bytes(b"rot")
    empty = Folder(tmp_path / "empty", {})
    assert backup._copy([file], tmp_path / "share", empty, previous) == [file]
    assert not empty.has(file.path)
