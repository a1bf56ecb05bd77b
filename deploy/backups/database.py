"""The database, through psql, pg_dump and pg_restore."""

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from deploy.backups.failures import Failed

_PSQL = (
    "psql",
    "--no-psqlrc",
    "--quiet",
    "--no-align",
    "--tuples-only",
    "--field-separator=\t",
    "--no-password",
)
_END = "end of the list"
_STOP = ("--set=ON_ERROR_STOP=1",)
# An operator may have set limits for all sessions of the database; pg_dump exempts itself too. A
# server before PostgreSQL 17 knows no transaction_timeout.
_NO_TIME_LIMITS = """
    SET statement_timeout = 0;
    SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN (
        'idle_in_transaction_session_timeout', 'lock_timeout', 'transaction_timeout'
    ) \\g /dev/null
"""
# Among the first lines of every script of pg_restore 17 and later, and unknown to a server before
# PostgreSQL 17: it would refuse the restore.
_NEWER_SETTING = b"SET transaction_timeout = 0;\n"
_KNOWS_NEWER_SETTING = 170000
_SETTINGS_LINES = 60
# Every file that a row names: downloadable clips, sources that parts are still cut from, and those
# of brands and finished uploads, where the database has any: a backup is also made just before an
# upgrade.
_STORED_FILES = """
    SELECT to_regclass('public.brands') IS NOT NULL AS has_brands,
        to_regclass('public.uploads') IS NOT NULL AS has_uploads \\gset
    \\if :has_brands
    SELECT DISTINCT 'brands/' || owner_id || '/' || file, split_part(file, '.', 1), ''
    FROM brands CROSS JOIN unnest(files) AS file ORDER BY 1;
    \\endif
    \\if :has_uploads
    SELECT 'uploads/' || id, '', '' FROM uploads
    WHERE offset_bytes = length_bytes AND deleted_at IS NULL AND removed_at IS NULL
    AND (task_id IS NOT NULL OR expires_at > now()) ORDER BY 1;
    \\endif
    SELECT parts.path, parts.sha256, parts.task_id FROM parts JOIN tasks ON tasks.id = parts.task_id
    WHERE parts.status = 'done' AND tasks.status NOT IN ('canceling', 'canceled')
    UNION ALL
    SELECT source_path, '', id FROM tasks
    WHERE status IN ('planned', 'processing') AND source_path IS NOT NULL
    ORDER BY 1;
"""


@dataclass(frozen=True)
class StoredFile:
    """A file on the share that the database names.

    A source or an upload has no `sha256` there, a file of a brand or an upload no `task_id`.
    """

    path: str
    sha256: str
    task_id: str


class Database:
    """One database, accessed as its owner."""

    def __init__(self, libpq: Mapping[str, str]) -> None:
        self._libpq = libpq

    def execute(self, script: str) -> list[list[str]]:
        """Run a psql script and return the rows it prints. Raises Failed."""
        output = self._run([*_PSQL, *_STOP], _NO_TIME_LIMITS + script)
        return [line.split("\t") for line in output.splitlines()]

    def stored_files(self) -> list[StoredFile]:
        """Return every file that the database names now."""
        return [StoredFile(*row) for row in self.execute(_STORED_FILES)]

    def dump(self, target: Path) -> list[StoredFile]:
        """Dump the database to `target`; return the files it names, from the same snapshot."""
        command = [*_PSQL, *_STOP]
        with self._start(command) as session:
            assert session.stdin is not None  # noqa: S101 # both are pipes
            assert session.stdout is not None  # noqa: S101 # it was requested
            session.stdin.write(
                f"{_NO_TIME_LIMITS}BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
                " SELECT pg_export_snapshot();\n"
            )
            session.stdin.flush()
            snapshot = session.stdout.readline().strip()
            if snapshot:
                self._run(
                    [
                        "pg_dump",
                        "--no-password",
                        "--format=custom",
                        f"--snapshot={snapshot}",
                        f"--file={target}",
                    ]
                )
            output, stderr = session.communicate(_STORED_FILES)
        if session.returncode:
            raise Failed("database_failed", stderr.strip())
        return [StoredFile(*line.split("\t")) for line in output.splitlines()]

    def load(self, dump: Path, script_for: Callable[[list[StoredFile]], str]) -> list[StoredFile]:
        """Restore a dump and run the script made for the files that it names; return these.

        All of it is one transaction.
        """
        left_out = b"" if self._version() >= _KNOWS_NEWER_SETTING else _NEWER_SETTING
        with self._start([*_PSQL, *_STOP]) as session:
            try:
                files = self._feed(dump, session, left_out)
                stderr = session.communicate(f"{script_for(files)}COMMIT;\n")[1]
            except (Failed, BrokenPipeError) as error:
                # Where psql ended first, it knows why.
                reasons = [session.communicate()[1].strip(), str(error)]
                if isinstance(error, BrokenPipeError) and reasons[0]:
                    reasons.pop()
                code = getattr(error, "code", "database_failed")
                raise Failed(code, "\n".join(filter(None, reasons))) from error
        if session.returncode:
            raise Failed("database_failed", stderr.strip())
        return files

    def _version(self) -> int:
        return int(self.execute("SHOW server_version_num;")[0][0])

    def _feed(
        self, dump: Path, session: "subprocess.Popen[str]", left_out: bytes
    ) -> list[StoredFile]:
        """Begin a transaction with what is in the dump; return the files that it names."""
        assert session.stdin is not None  # noqa: S101 # it is a pipe
        session.stdin.write(f"\\o /dev/null\n{_NO_TIME_LIMITS}BEGIN;\n")
        session.stdin.flush()
        command = ("pg_restore", "--no-owner", "--file=-", str(dump))
        with self._start(command) as script:
            assert isinstance(script.stdout, TextIOWrapper)  # noqa: S101 # both are pipes
            assert isinstance(session.stdin, TextIOWrapper)  # noqa: S101 # it was requested
            _pass_on(script.stdout.buffer, session.stdin.buffer, left_out)
            stderr = script.communicate()[1]
            _check_end(command, script.returncode, stderr)
        # The script of pg_restore leaves an empty search path.
        session.stdin.write(f"\\o\nRESET search_path;\n{_STORED_FILES}SELECT '{_END}';\n")
        session.stdin.flush()
        return _listed(session)

    def _run(self, command: Sequence[str], script: str = "") -> str:
        with self._start(command) as process:
            output, stderr = process.communicate(script)
            _check_end(command, process.returncode, stderr)
        return output

    @contextmanager
    def _start(self, command: Sequence[str]) -> "Iterator[subprocess.Popen[str]]":
        """Start a program, and wait for its end; terminate it where the block fails."""
        pipe = subprocess.PIPE
        try:
            started = subprocess.Popen(
                command, env=self._libpq, stdin=pipe, stdout=pipe, stderr=pipe, text=True
            )
        except FileNotFoundError as error:
            raise Failed(
                "program_missing",
                f"{command[0]} is not installed: apt-get install postgresql-client",
            ) from error
        with started as process:
            try:
                yield process
            except BaseException:  # else its end would be waited for, and it might succeed
                process.terminate()
                raise


def _pass_on(script: BinaryIO, session: BinaryIO, left_out: bytes) -> None:
    """Write a script of pg_restore to psql, without that line of its first ones."""
    session.writelines(line for line in islice(script, _SETTINGS_LINES) if line != left_out)
    shutil.copyfileobj(script, session)
    session.flush()


def _check_end(command: Sequence[str], code: int, stderr: str) -> None:
    if code:
        raise Failed("database_failed", stderr.strip() or f"{command[0]} ended with {code}")


def _listed(session: "subprocess.Popen[str]") -> list[StoredFile]:
    """Return the files that psql prints before the line _END; raise Failed where it has ended."""
    assert session.stdout is not None  # noqa: S101 # it is a pipe
    files = []
    while (line := session.stdout.readline().rstrip("\n")) != _END:
        if not line:
            raise Failed("database_failed", "psql has ended")
        files.append(StoredFile(*line.split("\t")))
    return files
