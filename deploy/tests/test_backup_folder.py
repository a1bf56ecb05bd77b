"""The folder of backups: what else is in it, and what of an earlier backup is linked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Installation, Saved


@pytest.mark.parametrize("name", ["2026-images", "zz-images"])
def test_a_folder_of_somebody_else_is_no_backup(
    live: Installation, saved: Saved, backups: Path, name: str
) -> None:
    task = live.add_task()
    foreign = backups / name
    foreign.mkdir(parents=True)
    (foreign / "SHA256SUMS").write_text("")
    live.changed = {"BACKUP_KEEP": "1"}
    first = saved_folder(saved, backups)
    clip = f"share/{task}/0.1.mp4"
    inode = (first / clip).stat().st_ino
    second = saved_folder(saved, backups)
    assert (second / clip).stat().st_ino == inode
    assert (foreign / "SHA256SUMS").exists()
    assert not first.exists()


def test_an_unfinished_file_of_somebody_else_stays(saved: Saved, backups: Path) -> None:
    backups.mkdir()
    for name in ("film.mp4.partial", ".lock.partial"):
        (backups / name).touch()
    (backups / "archive.partial").mkdir()
    saved()
    assert (backups / "archive.partial").exists()


def saved_folder(saved: Saved, backups: Path) -> Path:
    """Make a backup and return its folder."""
    saved()
    return max(backups.glob("20??-??-??T*Z"))


def test_a_clip_that_was_damaged_in_the_last_backup_is_copied_again(
    live: Installation, saved: Saved
) -> None:
    task = live.add_task()
    name = f"share/{task}/0.1.mp4"
    (saved() / name).write_bytes(b"rot")
    assert (saved() / name).read_bytes() == live.clip(task).read_bytes()


def test_a_database_that_must_prove_itself_is_asked_with_its_authority(
    live: Installation, tmp_path: Path
) -> None:
    """The `.env` of a provisioned machine names the file of the authority as POSTGRES_CA."""
    authority = tmp_path / "postgres-ca.pem"
    (tmp_path / "psql").write_text(
        '#!/bin/sh\necho "$PGSSLMODE $PGSSLROOTCERT" >"$TEST_OUTPUT"\nexit 1\n'
    )
    (tmp_path / "psql").chmod(0o755)
    live.changed = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "POSTGRES_SSLMODE": "verify-ca",
        "POSTGRES_CA": str(authority),
        "TEST_OUTPUT": str(tmp_path / "output"),
    }
    live.run("backup")
    assert (tmp_path / "output").read_text() == f"verify-ca {authority}\n"
