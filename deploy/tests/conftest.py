"""A database and a share with tasks in every state, the backup commands, a place to restore."""

import hashlib
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from idrl_local import servers
from idrl_testing.database import Database, create_database

DEPLOY = Path(__file__).parents[1]
MARKER = ".idrl-share"


@dataclass
class Installation:
    """A database and a share: what is saved, or what it is brought back to."""

    database: Database
    share: Path
    environment: dict[str, str]
    changed: dict[str, str] = field(default_factory=dict)

    def command(self, name: str, *arguments: str | Path) -> list[str]:
        """Return the words of deploy/backup or deploy/restore as a person would type them."""
        return [str(DEPLOY / name), *map(str, arguments)]

    def variables(self) -> dict[str, str]:
        """Return the environment of the commands."""
        database = {
            "POSTGRES_HOST": self.database.host,
            "POSTGRES_PORT": str(self.database.port),
            "POSTGRES_DB": self.database.name,
            "POSTGRES_USER": self.database.superuser,
            "POSTGRES_PASSWORD": self.database.password,
            "POSTGRES_SSLMODE": "disable",
            "REMOTE_FOLDER": str(self.share),
        }
        return {**self.environment, **database, **self.changed}

    def run(self, command: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(
            self.command(command, *arguments),
            env=self.variables(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def add_task(
        self, status: str = "done", parts: str = "done", *, source: bool = False
    ) -> uuid.UUID:
        """Store a task; each word of `parts` is the state of one, and those done have a clip."""
        task = uuid.uuid4()
        folder = self.share / str(task)
        folder.mkdir()
        path = f"'{task}/source.1'" if source else "NULL"
        if source:
            (folder / "source.1").write_bytes(os.urandom(1000))
        self.database.execute(
            "INSERT INTO tasks (id, owner_id, url, status, source_path, lease_owner, attempt)"
            f" VALUES ('{task}', 1, 'http://a.example/v', '{status}', {path}, 'render@one', 1)"
        )
        for number, state in enumerate(parts.split()):
            self._add_part(task, number, state)
        return task

    def add_brand(self, content: bytes) -> Path:
        """Store a brand of this one file and return the file."""
        name = f"{hashlib.sha256(content).hexdigest()}.png"
        file = self.share / "brands" / "1" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        self.database.execute(
            "INSERT INTO brands (id, owner_id, name, spec, files, size_bytes)"
            f" VALUES ('{uuid.uuid4()}', 1, 'Race', '{{}}', '{{{name}}}', {len(content)})"
        )
        return file

    def _add_part(self, task: uuid.UUID, number: int, state: str) -> None:
        clip, path = os.urandom(2000 + number), f"{task}/{number}.1.mp4"
        clip_columns = (
            f"'{path}', '{hashlib.sha256(clip).hexdigest()}'" if state == "done" else "NULL, NULL"
        )
        if state == "done":
            (self.share / path).write_bytes(clip)
        self.database.execute(
            "INSERT INTO parts (task_id, number, status, path, sha256, owner_id,"
            " start_frame, end_frame, start_s,"
            f" end_s) VALUES ('{task}', {number}, '{state}', {clip_columns}, 1, 0, 1, 0, 1)"
        )

    def clip(self, task: uuid.UUID, number: int = 0) -> Path:
        return self.share / f"{task}/{number}.1.mp4"

    def files(self) -> dict[str, bytes]:
        """Return the content of every file of the share."""
        return {
            str(path.relative_to(self.share)): path.read_bytes()
            for path in self.share.rglob("*")
            if path.is_file()
        }

    def rows(self, table: str, columns: str) -> list[tuple[object, ...]]:
        return self.database.execute(f"SELECT {columns} FROM {table} ORDER BY {columns}")

    def statuses(self, task: uuid.UUID) -> tuple[object, list[object]]:
        """Return the status of a task and those of its parts; None for a task that is not there."""
        rows = self.database.execute(f"SELECT status FROM tasks WHERE id = '{task}'")
        parts = self.database.execute(
            f"SELECT status FROM parts WHERE task_id = '{task}' ORDER BY number"
        )
        return (rows[0][0] if rows else None, [status for (status,) in parts])


def new_share(path: Path) -> Path:
    path.mkdir()
    (path / MARKER).touch()
    return path


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    """Where backups go to."""
    return tmp_path / "backups"


@pytest.fixture
def environment(binaries: servers.Binaries, backups: Path) -> dict[str, str]:
    """What the commands find on every machine: PostgreSQL's programs, and where backups go to."""
    folders = (binaries.initdb.parent, Path(sys.executable).parent, os.environ["PATH"])
    return {"PATH": ":".join(map(str, folders)), "BACKUP_FOLDER": str(backups)}


@pytest.fixture
def installation() -> type[Installation]:
    """The class, for a test that backs up or restores an installation of its own."""
    return Installation


@pytest.fixture
def live(database: Database, environment: dict[str, str], tmp_path: Path) -> Installation:
    """The system that is saved."""
    return Installation(database, new_share(tmp_path / "share"), environment)


@pytest.fixture
def fresh(
    postgres_port: int, environment: dict[str, str], tmp_path: Path
) -> Iterator[Installation]:
    """A system with nothing in it, not even tables."""
    name = f"fresh_{uuid.uuid4().hex}"
    create_database(postgres_port, name)
    yield Installation(
        Database(postgres_port, name=name), new_share(tmp_path / "fresh"), environment
    )
    Database(postgres_port, name="postgres").execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    )


Saved = Callable[[], Path]


@pytest.fixture
def saved(live: Installation, backups: Path) -> Saved:
    """Make a backup and return its folder."""

    def save() -> Path:
        done = live.run("backup")
        assert done.returncode == 0, done.stderr
        return max(path for path in backups.iterdir() if path.is_dir())

    return save
