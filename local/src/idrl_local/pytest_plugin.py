"""Fixtures every test suite shares: a real PostgreSQL with the migrated schema, a real Redis."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest

from idrl_local import servers
from psg import migrate
from psg.settings import Settings as SchemaSettings

_PASSWORD = "only-on-loopback"  # noqa: S105 # of servers that live as long as the test run


@dataclass(frozen=True)
class Database:
    """A migrated database on loopback; `web` and `worker` log in with `password` as well as the superuser."""

    port: int
    name: str = "idrl"
    superuser: str = "postgres"
    password: str = _PASSWORD
    host: str = "127.0.0.1"

    def settings(self) -> SchemaSettings:
        return SchemaSettings(
            postgres_host=self.host,
            postgres_port=self.port,
            postgres_db=self.name,
            postgres_user=self.superuser,
            postgres_password=self.password,
            web_db_password=self.password,
            worker_db_password=self.password,
        )

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement as the superuser and return its rows, if it has any."""
        connection = psycopg2.connect(
            host=self.host,
            port=self.port,
            dbname=self.name,
            user=self.superuser,
            password=self.password,
        )
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


@pytest.fixture(scope="session")
def binaries() -> servers.Binaries:
    """The servers' programs."""
    return servers.find_binaries()


@pytest.fixture(scope="session")
def postgres_port(
    binaries: servers.Binaries, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The port of a PostgreSQL that lives as long as the test run."""
    data = tmp_path_factory.mktemp("postgres") / "data"
    servers.init_postgres(binaries, data, "postgres", _PASSWORD)
    port = servers.free_port()
    # Durability is not what these tests look at, and it makes each of them slower.
    command = servers.postgres_command(
        binaries, data, port, "fsync=off", "synchronous_commit=off", "max_connections=200"
    )
    with running(command, data.with_name("postgres.log")) as process:
        servers.wait_for_postgres(port, "postgres", _PASSWORD, process)
        yield port


@pytest.fixture(scope="session")
def migrated_database(postgres_port: int) -> Database:
    """The migrated database, shared by all tests; ask for `database` to find it empty."""
    create_database(postgres_port, "idrl")
    database = Database(postgres_port)
    engine = migrate.engine_for(database.settings())
    migrate.upgrade(engine, database.settings())
    engine.dispose()
    return database


@pytest.fixture
def database(migrated_database: Database) -> Database:
    """The migrated database, with no rows in it."""
    ((tables,),) = migrated_database.execute(
        "SELECT string_agg(tablename, ', ') FROM pg_tables"
        " WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
    )
    migrated_database.execute(f"TRUNCATE {tables} RESTART IDENTITY")
    return migrated_database


@pytest.fixture(scope="session")
def redis_url(
    binaries: servers.Binaries, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a Redis that lives as long as the test run."""
    data = tmp_path_factory.mktemp("redis")
    port = servers.free_port()
    with running(
        servers.redis_command(binaries, data, port, _PASSWORD), data / "redis.log"
    ) as process:
        servers.wait_for_port(port, process)
        yield f"redis://:{_PASSWORD}@127.0.0.1:{port}/0"


def create_database(port: int, name: str) -> None:
    """Create an empty database on the test run's PostgreSQL."""
    connection = psycopg2.connect(
        host="127.0.0.1", port=port, dbname="postgres", user="postgres", password=_PASSWORD
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}"')
    connection.close()


@contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for as long as the block lasts; what it prints goes to `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            process.send_signal(
                signal.SIGINT
            )  # PostgreSQL's fast way: it does not wait for clients
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # children that outlived it
