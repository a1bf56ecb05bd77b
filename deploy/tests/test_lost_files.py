"""What an earlier backup still has outlives the loss of a file on the share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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
