"""Backups can be restored, and files that could not be saved are listed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from idrl_testing.database import Database

if TYPE_CHECKING:
    from conftest import Installation, Saved


def refused(done: subprocess.CompletedProcess[str], code: str) -> str:
    """Check that nothing was done, for this reason, and return the whole sentence."""
    assert (done.returncode, done.stdout) == (1, ""), done.stdout + done.stderr
    assert done.stderr.startswith(f"{code}: ")
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"POSTGRES_PASSWORD": "not-the-one"}, "database_failed"),
        ({"POSTGRES_PASSWORD": ""}, "setting_missing"),
        ({"POSTGRES_PORT": "1"}, "database_failed"),
        ({"REMOTE_FOLDER": "/nowhere"}, "share_away"),
        ({"BACKUP_FOLDER": ""}, "setting_missing"),
        ({"BACKUP_KEEP": "0"}, "setting_invalid"),
        ({"PATH": "without psql"}, "program_missing"),
    ],
)
def test_failed_backup_leaves_nothing(
    live: Installation, backups: Path, changed: dict[str, str], code: str
) -> None:
    live.add_task()
    if "PATH" in changed:
        only_python = backups.with_name("bin")
        only_python.mkdir()
        (only_python / "python3").symlink_to(Path(sys.executable).resolve())
        (only_python / "dirname").symlink_to(shutil.which("dirname") or "")
        changed = {"PATH": str(only_python)}
    live.changed = changed
    message = refused(live.run("backup"), code)
    assert "not-the-one" not in message
    assert not backups.exists() or [path.name for path in backups.iterdir()] == [".lock"]


def test_wrong_password_restores_nothing(
    fresh: Installation, live: Installation, saved: Saved
) -> None:
    live.add_task()
    folder = saved()
    fresh.changed = {"POSTGRES_PASSWORD": "not-the-one"}
    assert "password authentication failed" in refused(
        fresh.run("restore", folder), "database_failed"
    )
    assert list(fresh.files()) == [".idrl-share"]


def test_restore_refuses_a_database_with_tables(live: Installation, saved: Saved) -> None:
    task = live.add_task()
    folder = saved()
    before = live.files()
    refused(live.run("restore", folder), "database_not_empty")
    assert live.files() == before
    assert live.statuses(task) == ("done", ["done"])


def test_restore_refuses_a_share_with_tasks(
    fresh: Installation, live: Installation, saved: Saved
) -> None:
    task = live.add_task()
    folder = saved()
    (fresh.share / str(task)).mkdir()
    (fresh.share / str(task) / "kept").touch()
    refused(fresh.run("restore", folder), "share_not_empty")
    assert (fresh.share / str(task) / "kept").exists()


def test_unmounted_share_is_refused(fresh: Installation, live: Installation, saved: Saved) -> None:
    live.add_task()
    (fresh.share / ".idrl-share").unlink()
    refused(fresh.run("restore", saved()), "share_away")


def test_folder_without_backup_is_refused(fresh: Installation, tmp_path: Path) -> None:
    refused(fresh.run("restore", tmp_path / "nowhere"), "backup_incomplete")
    refused(fresh.run("restore", tmp_path), "backup_incomplete")


@pytest.mark.parametrize("name", ["idle_in_transaction_session_timeout", "statement_timeout"])
def test_time_limits_of_the_database_end_no_backup_and_no_restore(
    fresh: Installation, live: Installation, saved: Saved, name: str
) -> None:
    task = live.add_task()
    with time_limit(live.database, name), time_limit(fresh.database, name):
        done = fresh.run("restore", saved())
        assert done.returncode == 0, done.stderr
    assert fresh.statuses(task) == ("done", ["done"])


@contextmanager
def time_limit(database: Database, name: str) -> Iterator[None]:
    """Let every new session of the database have this limit, of a millisecond."""
    database.execute(f"ALTER DATABASE {database.name} SET {name} = '1ms'")
    try:
        yield
    finally:
        server = Database(database.port, name="postgres")
        server.execute(f"ALTER DATABASE {database.name} RESET {name}")


@pytest.mark.parametrize("name", ["database.dump", "left_out.json"])
def test_damaged_dump_is_refused(
    fresh: Installation, live: Installation, saved: Saved, name: str
) -> None:
    live.add_task()
    folder = saved()
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    refused(fresh.run("restore", folder), "backup_damaged")
    assert list(fresh.files()) == [".idrl-share"]


def test_failed_pg_restore_leaves_nothing(
    fresh: Installation, live: Installation, saved: Saved
) -> None:
    live.add_task()
    folder = saved()
    fresh.database.execute("CREATE SCHEMA taken")
    fresh.database.execute(
        "CREATE FUNCTION alembic_version() RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )
    fresh.database.execute("CREATE TYPE users AS ENUM ('in the way')")
    refused(fresh.run("restore", folder), "database_failed")
    assert list(fresh.files()) == [".idrl-share"]
    assert fresh.database.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [
        (0,)
    ]


def test_backup_lists_a_clip_that_is_missing_on_the_share(
    live: Installation, backups: Path
) -> None:
    kept, lost = live.add_task(), live.add_task()
    live.clip(lost).unlink()
    done = live.run("backup")
    assert done.returncode == 3
    assert f"lost: {lost}/0.1.mp4" in done.stdout
    [folder] = [path for path in backups.iterdir() if path.is_dir()]
    assert (folder / "share" / str(kept) / "0.1.mp4").exists()


def test_backup_lists_a_brands_file_that_is_missing(live: Installation) -> None:
    live.add_brand(b"there")
    missing = live.add_brand(b"not there")
    missing.unlink()
    done = live.run("backup")
    assert done.returncode == 3
    assert f"lost: {missing.relative_to(live.share)}" in done.stdout


def test_database_without_brands_can_be_saved(live: Installation) -> None:
    live.add_task("done", "done")
    live.database.execute("ALTER TABLE brands RENAME TO later_brands")
    try:
        done = live.run("backup")
    finally:
        live.database.execute("ALTER TABLE later_brands RENAME TO brands")
    assert done.returncode == 0, done.stderr


def test_backup_leaves_out_a_damaged_clip(live: Installation, backups: Path) -> None:
    task = live.add_task()
    live.clip(task).write_bytes(b"rot")
    done = live.run("backup")
    assert (done.returncode, f"lost: {task}/0.1.mp4" in done.stdout) == (3, True)
    assert list(backups.glob("*/share/*/*")) == []


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_restore_lists_a_clip_that_the_backup_lost(
    fresh: Installation, live: Installation, saved: Saved, damage: str
) -> None:
    kept, lost = live.add_task(), live.add_task("failed", "done failed")
    folder = saved()
    clip = folder / "share" / str(lost) / "0.1.mp4"
    clip.unlink() if damage == "missing" else clip.write_bytes(b"rot")
    done = fresh.run("restore", folder)
    assert done.returncode == 3, done.stderr
    assert f"lost: {lost}/0.1.mp4" in done.stdout
    assert fresh.clip(kept).read_bytes() == live.clip(kept).read_bytes()
    assert not fresh.clip(lost).exists()
    assert fresh.statuses(lost) == ("failed", ["done", "failed"])


def test_lost_files_that_can_be_made_again_are_queued(
    fresh: Installation, live: Installation, saved: Saved
) -> None:
    no_source = live.add_task("processing", "done waiting", source=True)
    no_clip = live.add_task("processing", "done waiting", source=True)
    folder = saved()
    (folder / "share" / str(no_source) / "source.1").unlink()
    (folder / "share" / str(no_clip) / "0.1.mp4").unlink()
    assert fresh.run("restore", folder).returncode == 3
    assert fresh.statuses(no_source) == ("queued", ["done"])
    assert fresh.statuses(no_clip) == ("processing", ["waiting", "waiting"])


def test_deletions_and_cancels_during_the_backup_are_respected(
    fresh: Installation, live: Installation, saved: Saved, tmp_path: Path
) -> None:
    deleted, canceled, finished = (
        live.add_task(),
        live.add_task("processing", "done"),
        live.add_task("processing", ""),
    )
    live.database.execute(
        f"UPDATE tasks SET source_path = '{finished}/source.1' WHERE id = '{finished}'"
    )
    for task in (deleted, canceled):
        live.clip(task).unlink()
    # A pg_dump after which people go on: what the dump speaks of is gone before its files are
    # looked for.
    (tmp_path / "pg_dump").write_text(f"""#!/bin/sh
        "{shutil.which("pg_dump", path=live.environment["PATH"])}" "$@" && psql -q \\
        -c "DELETE FROM tasks WHERE id = '{deleted}'" \\
        -c "DELETE FROM parts WHERE task_id = '{canceled}'" \\
        -c "UPDATE tasks SET status = 'canceled' WHERE id = '{canceled}'" \\
        -c "UPDATE tasks SET status = 'done' WHERE id = '{finished}'"
    """)
    (tmp_path / "pg_dump").chmod(0o755)
    live.changed = {"PATH": f"{tmp_path}:{live.environment['PATH']}"}
    done = fresh.run("restore", saved())
    assert done.returncode == 0, done.stdout + done.stderr
    assert fresh.statuses(deleted) == (None, [])
    assert fresh.statuses(canceled)[0] == "canceling"  # the sweeper removes the files
    assert fresh.statuses(finished) == ("queued", [])


def test_restore_is_complete_and_holds_no_lease(
    fresh: Installation, live: Installation, saved: Saved
) -> None:
    live.database.execute(
        "INSERT INTO users (username, email, password_hash) VALUES ('a', 'a@example.com', 'x')"
    )
    done = live.add_task("done", "done done")
    halfway = live.add_task("processing", "done rendering waiting", source=True)
    fetching = live.add_task("downloading", "")
    (live.share / str(fetching) / "source.1").write_bytes(b"half of it")
    canceled = live.add_task("canceled", "")
    live.add_brand(b"a picture")
    live.add_brand(b"a picture")
    folder = saved()
    restored = fresh.run("restore", folder)
    assert restored.returncode == 0, restored.stdout + restored.stderr
    assert fresh.statuses(done) == ("done", ["done", "done"])
    assert fresh.statuses(halfway) == ("processing", ["done", "waiting", "waiting"])
    assert fresh.statuses(fetching) == ("queued", [])
    assert fresh.statuses(canceled) == ("canceled", [])
    columns = "id, username, email, password_hash, created_at"
    assert fresh.rows("users", columns) == live.rows("users", columns)
    assert fresh.rows("parts", "task_id, number, sha256") == live.rows(
        "parts", "task_id, number, sha256"
    )
    assert fresh.rows("alembic_version", "version_num") == live.rows(
        "alembic_version", "version_num"
    )
    live_statuses = "'queued', 'processing'"
    assert fresh.database.execute(
        f"SELECT DISTINCT lease_owner FROM tasks WHERE status IN ({live_statuses})"
    ) == [(None,)]
    expected = {
        name: content
        for name, content in live.files().items()
        if not name.startswith(str(fetching))
    }
    assert fresh.files() == expected
    # The next task gets an id of its own, and the roles may do what they could.
    fresh.database.execute(
        "INSERT INTO users (username, email, password_hash) VALUES ('b', 'b@example.com', 'x')"
    )
    rights = (
        "has_table_privilege('web', 'users', 'INSERT'),"
        " has_table_privilege('web', 'tasks', 'SELECT')"
    )
    assert fresh.database.execute(f"SELECT {rights}") == [(True, False)]


def test_read_only_role_can_back_up(fresh: Installation, live: Installation, saved: Saved) -> None:
    task = live.add_task("processing", "done waiting", source=True)
    live.database.execute(
        "CREATE ROLE saver LOGIN PASSWORD 'only-for-this' IN ROLE pg_read_all_data"
    )
    try:
        live.changed = {"POSTGRES_USER": "saver", "POSTGRES_PASSWORD": "only-for-this"}
        assert fresh.run("restore", saved()).returncode == 0
    finally:
        live.database.execute("DROP ROLE saver")
    assert fresh.statuses(task) == ("processing", ["done", "waiting"])


def test_checksums_are_checked_by_sha256sum(live: Installation, saved: Saved) -> None:
    live.add_task("processing", "done rendering", source=True)
    folder = saved()
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(check, cwd=folder, capture_output=True, check=False).returncode == 0


def test_unchanged_file_is_a_hard_link(live: Installation, saved: Saved) -> None:
    task = live.add_task()
    first = saved()
    live.add_task()
    second = saved()
    name = f"share/{task}/0.1.mp4"
    assert (first / name).stat().st_ino == (second / name).stat().st_ino
    assert len(list(first.glob("share/*/*"))) == 1
    assert len(list(second.glob("share/*/*"))) == 2


def test_damaged_backup_does_not_stop_the_next_one(live: Installation, saved: Saved) -> None:
    live.add_task()
    first = saved()
    (first / "database.dump").write_bytes(b"rot")
    done = live.run("backup")
    assert (done.returncode, "the previous backup is not reused" in done.stdout) == (0, True)


def test_newest_backups_are_kept(live: Installation, saved: Saved, backups: Path) -> None:
    live.add_task()
    foreign_backup = backups / "0-not-ours"
    foreign_backup.mkdir(parents=True)
    live.changed = {"BACKUP_KEEP": "2"}
    folders = [saved() for _ in range(3)]
    assert sorted(path for path in backups.iterdir() if path.is_dir()) == [
        foreign_backup,
        *folders[1:],
    ]


def test_interrupted_backup_is_not_a_backup(
    fresh: Installation, live: Installation, saved: Saved, backups: Path
) -> None:
    live.add_task()
    broken = backups / "2000-01-01T00-00-00.000000Z.partial"
    broken.mkdir(parents=True)
    refused(fresh.run("restore", broken), "backup_incomplete")
    saved()
    assert not broken.exists()


@pytest.mark.parametrize("status", ["queued", "downloading"])
def test_clips_of_a_task_that_is_tried_again_stay(
    fresh: Installation, live: Installation, saved: Saved, status: str
) -> None:
    tried = live.add_task(status, "done failed done")
    folder = saved()
    (folder / "share" / str(tried) / "2.1.mp4").unlink()
    assert fresh.run("restore", folder).returncode == 3
    assert fresh.statuses(tried) == ("queued", ["done", "failed"])
    assert fresh.clip(tried).read_bytes() == live.clip(tried).read_bytes()
