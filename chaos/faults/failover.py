"""A failover of PostgreSQL: a standby by streaming replication is promoted and takes its place."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import psycopg2

from chaos.faults.base import Fault
from chaos.target import Target
from idrl_local import servers, supervision
from idrl_local.programs import SUPERUSER
from idrl_testing.waiting import wait_until

_SYNCED = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"


class PostgresFailedOver(Fault):
    """The primary ends, with every connection; its standby, promoted, answers at its address.

    Replication is synchronous at the end, so that what was committed must be there afterwards.
    """

    name = "postgres_failed_over"

    def inject(self, target: Target, random: Random) -> None:  # noqa: ARG002 # nothing to choose
        primary = target.home.data / "postgres"
        copy = _copied(target, target.home.data / "standby")
        with _running(target, copy) as port:
            wait_until(lambda: target.rows("SELECT 1 FROM pg_stat_replication"))
            target.rows("ALTER SYSTEM SET synchronous_standby_names = '*'")
            target.rows("SELECT pg_reload_conf()")
            wait_until(lambda: target.rows(_SYNCED))
            target.rows("SELECT txid_current()")  # returns once the standby has all before it
            supervision.stop_programs(target.home, ["postgres"])
            _promote(target, port)
        former = primary.with_name("former")
        primary.rename(former)
        copy.rename(primary)
        shutil.rmtree(former)

    def recover(self, target: Target) -> None:
        supervision.start_programs(target.home, ["postgres"])
        port, secrets = target.installation.ports.postgres, target.installation.secrets
        servers.wait_for_postgres(port, SUPERUSER, secrets.postgres_password)
        # Where `inject` failed half-way, each commit would wait for a standby that has ended.
        target.rows("ALTER SYSTEM RESET synchronous_standby_names")
        target.rows("SELECT pg_reload_conf()")


def _copied(target: Target, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)  # of one that failed half-way
    folder.mkdir(mode=0o700)
    servers.chown_to_nobody(folder)
    binaries = servers.find_binaries(target.home.data / "postgres")
    port = target.installation.ports.postgres
    command = [
        *servers.unprivileged(binaries.postgres.with_name("pg_basebackup")),
        f"--dbname=host=127.0.0.1 port={port} user={SUPERUSER}",
        *(f"--pgdata={folder}", "--write-recovery-conf", "--checkpoint=fast"),
    ]
    password = {"PGPASSWORD": target.installation.secrets.postgres_password}
    subprocess.run(command, env={**os.environ, **password}, check=True, capture_output=True)
    return folder


@contextmanager
def _running(target: Target, data: Path) -> Iterator[int]:
    """Run a server on `data` while the block runs; yield its port."""
    port = servers.free_port()
    command = servers.postgres_command(servers.find_binaries(data), data, port)
    log = target.home.root / "standby.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        password = target.installation.secrets.postgres_password
        servers.wait_for_postgres(port, SUPERUSER, password, process)
        yield port
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _promote(target: Target, port: int) -> None:
    connection = psycopg2.connect(
        host="127.0.0.1",
        port=port,
        dbname="postgres",
        user=SUPERUSER,
        password=target.installation.secrets.postgres_password,
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_promote()")
            assert cursor.fetchone() == (True,), "the standby is not promoted"
    finally:
        connection.close()
