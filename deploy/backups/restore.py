"""Restores a backup into an empty database and an empty share.

First the files, then the database and the changes of its rows in one transaction: whatever goes
wrong, the database stays empty, what was copied is removed, and the same command can be run again.
"""

import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.backups.database import Database, StoredFile
from deploy.backups.failures import Failed
from deploy.backups.folder import DUMP, Folder, copy
from deploy.backups.settings import Settings

_TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public';"
_OTHERS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename IN ('web', 'worker');"
)
# A backup made before an upgrade may be of a schema without planned tasks.
_HAS_PLANS = """
    SELECT count(*) > 0 AS has_plans FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = 'tasks' AND column_name = 'planned_at' \\gset
"""
# Leases of the dump are cleared: their workers do not run here, and no attempt has failed by that.
# A queued task may have clips, of an attempt before: planning keeps those and adds what is missing.
_RESET_ROWS = """
    DELETE FROM tasks WHERE id::text IN (SELECT name FROM outcome WHERE what = 'deleted');
    UPDATE tasks SET status = 'canceling'
        WHERE status IN ('queued', 'downloading', 'planned', 'processing')
        AND id::text IN (SELECT name FROM outcome WHERE what = 'canceled');
    UPDATE tasks SET lease_owner = NULL, lease_until = NULL,
        status = CASE status WHEN 'downloading' THEN 'queued' ELSE status END
        WHERE status IN ('queued', 'downloading', 'planned', 'processing', 'canceling');
    UPDATE parts SET status = 'waiting', progress = 0, lease_owner = NULL, lease_until = NULL
        WHERE status = 'rendering';
    \\if :has_plans
    UPDATE tasks SET planned_at = NULL WHERE status IN ('planned', 'processing')
        AND source_path IN (SELECT name FROM outcome WHERE what = 'missing');
    \\endif
    UPDATE tasks SET status = 'queued', source = NULL, source_path = NULL, progress = 0
        WHERE status IN ('planned', 'processing')
        AND source_path IN (SELECT name FROM outcome WHERE what = 'missing');
    DELETE FROM parts USING tasks WHERE tasks.id = parts.task_id AND tasks.status = 'queued'
        AND (parts.status = 'waiting' OR parts.status = 'done'
            AND parts.path IN (SELECT name FROM outcome WHERE what = 'missing'));
    UPDATE parts SET status = 'waiting', progress = 0, path = NULL, size_bytes = NULL,
        sha256 = NULL, frames = NULL,
        finished_at = NULL FROM tasks WHERE tasks.id = parts.task_id AND tasks.status = 'processing'
        AND parts.status = 'done'
        AND parts.path IN (SELECT name FROM outcome WHERE what = 'missing');
"""


def restore(settings: Settings, root: Path) -> bool:
    """Restore the backup; return whether every clip is complete."""
    folder = Folder.opened(root)
    database = Database(settings.libpq)
    settings.check_share()
    _check_empty(settings, database)
    with _undone_on_failure(settings.share):
        copied = {
            path: _restore_file(folder, path, settings.share) for path in folder.clips_and_sources
        }
        _create_roles(database, settings)
        named = database.load(
            root / DUMP, lambda files: _reset_script(folder, _missing(files, copied))
        )
    damaged = sorted(path for path, digest in copied.items() if digest is None)
    lost = _missing(database.stored_files(), copied)
    _report(len(copied) - len(damaged), damaged, _missing(named, copied), lost)
    return not (damaged or lost)


def _check_empty(settings: Settings, database: Database) -> None:
    if database.execute(_TABLES) != [["0"]]:
        raise Failed(
            "database_not_empty", f"the database {settings.libpq['PGDATABASE']} has tables already"
        )
    if database.execute(_OTHERS) != [["0"]]:
        raise Failed("system_running", "the system is running: stop web, tasks and workers first")
    if list(_stored_folders(settings.share)):
        raise Failed(
            "share_not_empty", f"{settings.share} holds files of tasks, brands or uploads already"
        )


def _stored_folders(share: Path) -> Iterator[Path]:
    """Yield the folders of tasks, and those of brands and uploads unless they are empty."""
    for entry in share.iterdir():
        if entry.name in ("brands", "uploads"):
            if any(entry.iterdir()):
                yield entry
            continue
        try:
            uuid.UUID(entry.name)
        except ValueError:
            continue
        yield entry


@contextmanager
def _undone_on_failure(share: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for folder in _stored_folders(share):
            shutil.rmtree(folder)
        raise


def _restore_file(folder: Folder, path: str, share: Path) -> str | None:
    """Copy a file to the share, return its checksum; None, and no file, if lost or damaged."""
    target = share / path
    try:
        digest = copy(folder.on_disk(path), target)
    except FileNotFoundError:
        digest = ""
    if digest == folder.sum_of(path):
        return digest
    target.unlink(missing_ok=True)
    return None


def _create_roles(database: Database, settings: Settings) -> None:
    """Create the roles that the dump grants rights to, with the passwords that are known."""
    for role, password in settings.role_passwords.items():
        missing = (
            f"SELECT 'CREATE ROLE {role} NOLOGIN' WHERE NOT EXISTS"  # noqa: S608 # our own two names
            f" (SELECT FROM pg_roles WHERE rolname = '{role}')"
        )
        script = f"{missing} \\gexec\n"
        if password:
            # psql reads it from the environment and quotes it.
            script += (
                f"\\set password `printenv {role.upper()}_DB_PASSWORD`\n"
                f"ALTER ROLE {role} LOGIN PASSWORD :'password';\n"
            )
        database.execute(script)


def _missing(files: Sequence[StoredFile], copied: Mapping[str, str | None]) -> list[str]:
    """Return the paths of the files that were not restored, or not as the database names them."""
    return [file.path for file in files if not _is_restored(file, copied)]


def _is_restored(file: StoredFile, copied: Mapping[str, str | None]) -> bool:
    digest = copied.get(file.path)
    return digest is not None and file.sha256 in ("", digest)


def _reset_script(folder: Folder, missing: list[str]) -> str:
    """Return the script that makes the rows match the restored files: see _RESET_ROWS."""
    outcome = {**folder.left_out(), "missing": missing}
    lines = "".join(f"{what}\t{name}\n" for what, names in outcome.items() for name in names)
    table = (
        f"CREATE TEMP TABLE outcome (what text, name text);\nCOPY outcome FROM STDIN;\n{lines}\\.\n"
    )
    return f"{_HAS_PLANS}{table}{_RESET_ROWS}\n"


def _report(files: int, damaged: list[str], missing: list[str], lost: list[str]) -> None:
    print(f"restored the database and {files} files of the share")
    for path in damaged:
        print(f"damaged: {path} differs from what was saved, or is missing in the backup")
    for path in missing:
        print(
            f"lost: {path}"
            if path in lost
            else f"missing: {path}; it will be made again, or was deleted"
        )
