"""The database, through psql, pg_dump and pg_restore."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
_STOP = ("--set=ON_ERROR_STOP=1",)
# Every file that a row speaks of: clips that can be downloaded, and sources that parts are still cut from.
_NAMED = """
    SELECT parts.path, parts.sha256, parts.task_id FROM parts JOIN tasks ON tasks.id = parts.task_id
    WHERE parts.status = 'done' AND tasks.status NOT IN ('canceling', 'canceled')
    UNION ALL
    SELECT source_path, '', id FROM tasks WHERE status = 'processing' AND source_path IS NOT NULL
    ORDER BY 1;
"""


@dataclass(frozen=True)
class StoredFile:
    """A file below the share that the database speaks of; a source has no `sha256` there."""

    path: str
    sha256: str
    task_id: str


class Database:
    """One database, asked as its owner."""

    def __init__(self, libpq: Mapping[str, str]) -> None:
        self._libpq = libpq

    def execute(self, script: str) -> list[list[str]]:
        """Run a script of psql and return the rows it prints; raise Failed."""
        output = self._run([*_PSQL, *_STOP], script)
        return [line.split("\t") for line in output.splitlines()]

    def named(self) -> list[StoredFile]:
        """Return every file that the database speaks of at this moment."""
        return [StoredFile(*row) for row in self.execute(_NAMED)]

    def dump(self, target: Path) -> list[StoredFile]:
        """Save the database to `target` and return the files it speaks of, both as of one and the same moment."""
        command = [*_PSQL, *_STOP]
        with self._start(command) as session:
            assert session.stdin is not None  # noqa: S101 # both are pipes
            assert session.stdout is not None  # noqa: S101
            session.stdin.write(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_export_snapshot();\n"
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
            output, said = session.communicate(_NAMED)
        if session.returncode:
            raise Failed("database_failed", said.strip())
        return [StoredFile(*line.split("\t")) for line in output.splitlines()]

    def load(self, dump: Path) -> None:
        """Bring a dump back: all of it or nothing."""
        options = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-password")
        self._run(["pg_restore", *options, f"--dbname={self._libpq['PGDATABASE']}", str(dump)])

    def _run(self, command: Sequence[str], script: str = "") -> str:
        with self._start(command) as process:
            output, said = process.communicate(script)
        if process.returncode:
            raise Failed(
                "database_failed", said.strip() or f"{command[0]} ended with {process.returncode}"
            )
        return output

    def _start(self, command: Sequence[str]) -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        try:
            return subprocess.Popen(
                command, env=self._libpq, stdin=pipe, stdout=pipe, stderr=pipe, text=True
            )
        except FileNotFoundError as error:
            raise Failed(
                "program_missing",
                f"{command[0]} is not installed: apt-get install postgresql-client",
            ) from error
