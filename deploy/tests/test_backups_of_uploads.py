"""Uploads are sources that no URL leads back to: a backup has them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Installation, Saved


def add_upload(live: Installation, content: bytes, *, missing_bytes: int = 0) -> Path:
    """Store an upload that lacks this many bytes, and return its file."""
    upload = uuid.uuid4()
    file = live.share / "uploads" / str(upload)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    live.database.execute(
        "INSERT INTO uploads (id, owner_id, length_bytes, offset_bytes, expires_at) VALUES"
        f" ('{upload}', 1, {len(content) + missing_bytes}, {len(content)}, now() + '1 day')"
    )
    return file


def use(live: Installation, upload: Path) -> uuid.UUID:
    """Store a queued task of the upload."""
    task = live.add_task("queued", "")
    live.database.execute(
        f"UPDATE tasks SET url = 'upload:{upload.name}' WHERE id = '{task}';"
        f" UPDATE uploads SET task_id = '{task}' WHERE id = '{upload.name}'"
    )
    return task


def test_an_upload_of_a_queued_task_comes_back(
    fresh: Installation, live: Installation, saved: Saved
) -> None:
    unused, used = add_upload(live, b"to be used later"), add_upload(live, b"in the queue")
    task = use(live, used)
    done = fresh.run("restore", saved())
    assert done.returncode == 0, done.stdout + done.stderr
    assert fresh.statuses(task) == ("queued", [])
    for file in (unused, used):
        assert (fresh.share / "uploads" / file.name).read_bytes() == file.read_bytes()


def test_an_upload_that_is_still_being_sent_is_left_out(
    fresh: Installation, live: Installation, saved: Saved
) -> None:
    half = add_upload(live, b"half of it", missing_bytes=10)
    assert fresh.run("restore", saved()).returncode == 0
    assert not (fresh.share / "uploads" / half.name).exists()


def test_an_upload_whose_file_is_gone_is_not_missed(live: Installation, saved: Saved) -> None:
    for column in ("removed_at", "deleted_at"):
        file = add_upload(live, b"gone")
        live.database.execute(f"UPDATE uploads SET {column} = now() WHERE id = '{file.name}'")
        file.unlink()
    saved()


def test_a_backup_lists_an_upload_that_is_missing_on_the_share(live: Installation) -> None:
    file = add_upload(live, b"a film")
    file.unlink()
    done = live.run("backup")
    assert (done.returncode, f"lost: uploads/{file.name}" in done.stdout) == (3, True)


def test_restore_refuses_a_share_with_uploads(fresh: Installation, saved: Saved) -> None:
    folder = saved()
    (fresh.share / "uploads").mkdir()
    (fresh.share / "uploads" / str(uuid.uuid4())).touch()
    done = fresh.run("restore", folder)
    assert (done.returncode, done.stderr.partition(":")[0]) == (1, "share_not_empty")
