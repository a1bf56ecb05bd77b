"""Calls during and after a failover of PostgreSQL, with a standby by streaming replication."""

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from idrl_local import servers
from idrl_testing.database import PASSWORD, Database
from idrl_testing.processes import running
from idrl_testing.waiting import wait_until
from worker_server.app import create_app
from worker_server.db import db
from worker_server.settings import Settings
from worker_testing import post, problem

pytestmark = pytest.mark.usefixtures("long_status_timeouts")
Auth = Callable[..., dict[str, str]]
_READ_ONLY = {"ok": False, "detail": "DatabaseReadOnly"}


class Address:
    """A port that leads to one server or another, as a name in the DNS does in a failover.

    Connections that are open stay where they are.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _accept(self) -> None:
        with self._listener, suppress(OSError):  # shut down
            while True:
                threading.Thread(target=self._serve, args=self._listener.accept()[:1]).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self.target)) as server:
            back = threading.Thread(target=_pass_on, args=(server, client))
            back.start()
            _pass_on(client, server)
            back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def standby(binaries: servers.Binaries, database: Database, tmp_path: Path) -> Iterator[Database]:
    """A hot standby of the test run's PostgreSQL, with all that it has."""
    data = tmp_path / "standby"
    data.mkdir(mode=0o700)
    servers.chown_to_nobody(data)
    copy = [
        *servers.unprivileged(binaries.postgres.with_name("pg_basebackup")),
        f"--dbname=host=127.0.0.1 port={database.port} user=postgres",
        *(f"--pgdata={data}", "--write-recovery-conf", "--checkpoint=fast"),
    ]
    subprocess.run(copy, env={**os.environ, "PGPASSWORD": PASSWORD}, check=True, timeout=120)
    port = servers.free_port()
    command = servers.postgres_command(binaries, data, port, "fsync=off", "max_connections=200")
    with running(command, tmp_path / "standby.log") as process:
        servers.wait_for_postgres(port, "postgres", PASSWORD, process)
        yield Database(port)


@pytest.fixture
def address(standby: Database) -> Iterator[Address]:
    """The database's address, which leads to the standby at first."""
    address = Address(standby.port)
    yield address
    address.close()


@pytest.fixture
def client(settings: Settings, address: Address) -> Iterator[FlaskClient]:
    app = create_app(settings.model_copy(update={"postgres_port": address.port}))
    yield app.test_client()
    with app.app_context():
        db.engine.dispose()


def database_check(client: FlaskClient) -> tuple[int, object]:
    answer = client.get("/ready")
    return answer.status_code, answer.get_json()["checks"]["database"]


def test_connections_to_a_server_that_takes_no_writes_are_left(
    client: FlaskClient, auth: Auth, address: Address, database: Database
) -> None:
    """They work and nothing ended them: each call got 503 for half an hour after a failover."""
    assert problem(post(client, auth())) == (503, "database_unavailable")
    assert client.get("/tasks", headers=auth()).status_code == 200  # reading is possible
    address.target = database.port
    assert problem(post(client, auth())) == (503, "database_unavailable")
    assert post(client, auth()).status_code == 202


def test_ready_shows_a_server_that_takes_no_writes_and_leaves_it(
    client: FlaskClient, address: Address, database: Database
) -> None:
    assert database_check(client) == (503, _READ_ONLY)
    address.target = database.port
    assert database_check(client) == (200, {"ok": True})


def test_calls_succeed_once_the_standby_is_promoted(
    client: FlaskClient, auth: Auth, standby: Database
) -> None:
    assert problem(post(client, auth())) == (503, "database_unavailable")
    standby.execute("SELECT pg_promote()")
    wait_until(lambda: standby.execute("SELECT pg_is_in_recovery()") == [(False,)])
    assert post(client, auth()).status_code == 202
    assert database_check(client) == (200, {"ok": True})
    assert standby.execute("SELECT count(*) FROM tasks") == [(1,)]
