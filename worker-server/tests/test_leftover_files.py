"""A file that cannot be removed from the share keeps no other one there."""

import os
import uuid
from pathlib import Path

import pytest
from upload_testing import CONTENT, Uploads, file_of

from idrl_testing.database import Database
from worker_server.jobs.brands import remove_unneeded_brands
from worker_server.jobs.uploads import remove_orphaned_uploads, remove_unneeded_uploads
from worker_server.settings import Settings


def age(folder: Path) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (0, 0))


def test_file_that_cannot_be_removed_keeps_no_other(
    uploads: Uploads, settings: Settings, share: Path, database: Database
) -> None:
    paths = [uploads.new() for _ in range(4)]
    for path in paths:
        uploads.patch(path, 0, CONTENT[:10])
        uploads.client.delete(path, headers=uploads.headers)
    stuck = [file_of(share, path) for path in paths[:2]]
    for file in stuck:
        file.unlink()
        file.mkdir()
    remove_unneeded_uploads(settings)
    assert sorted((share / "uploads").iterdir()) == sorted(stuck)
    assert database.execute("SELECT count(*) FROM uploads WHERE removed_at IS NULL") == [(2,)]


@pytest.mark.usefixtures("app")
def test_foreign_names_keep_no_orphaned_upload(settings: Settings, share: Path) -> None:
    """NFS gives a file that is removed while it is open a name of its own."""
    folder = share / "uploads"
    folder.mkdir()
    foreign, stuck = folder / ".nfs0000000000000001", folder / str(uuid.uuid4())
    orphans = [folder / str(uuid.uuid4()) for _ in range(3)]
    for file in (foreign, *orphans):
        file.touch()
    stuck.mkdir()
    age(folder)
    remove_orphaned_uploads(settings)
    assert sorted(folder.iterdir()) == sorted([foreign, stuck])


@pytest.mark.usefixtures("app")
def test_brand_file_that_cannot_be_removed_keeps_no_other(share: Path, settings: Settings) -> None:
    brands = share / "brands"
    stuck = brands / "3" / "stuck.png"
    stuck.mkdir(parents=True)
    (brands / "4").write_bytes(b"no folder")
    (brands / "\N{SUPERSCRIPT TWO}").mkdir()
    orphans = [brands / name / f"{name}.png" for name in ("2", "3", "5", "6")]
    for orphan in orphans:
        orphan.parent.mkdir(exist_ok=True)
        orphan.write_bytes(b"left behind")
    age(brands)
    remove_unneeded_brands(settings)
    assert [orphan for orphan in orphans if orphan.exists()] == []
    assert stuck.exists()
    assert {each.name for each in brands.iterdir()} == {"3", "4", "\N{SUPERSCRIPT TWO}"}
