"""Faults of Redis and PostgreSQL beyond those of their processes."""

import shutil
import signal
from contextlib import suppress
from random import Random
from typing import Any

import psycopg2
import redis
from celery import Celery
from psycopg2 import extensions

from chaos.faults.base import Fault, NotInjected
from chaos.faults.programs import ProgramKilled
from chaos.target import Target
from idrl_local.programs import DATABASE

_COPIES = 1000
_APART = "chaos"
_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('web', 'worker')"


class RedisEmptied(Fault):
    """FLUSHALL: every wake-up is lost."""

    name = "redis_emptied"

    def inject(self, target: Target, random: Random) -> None:  # noqa: ARG002 # nothing to choose
        with target.redis() as client:
            client.flushall()


class RedisLosesItsDisk(ProgramKilled):
    """Redis is killed, and starts with an empty disk."""

    def __init__(self) -> None:
        super().__init__("redis")
        self.name = "redis_loses_its_disk"

    def inject(self, target: Target, random: Random) -> None:
        super().inject(target, random)
        shutil.rmtree(target.home.data / "redis" / "appendonlydir", ignore_errors=True)


class RedisFull(Fault):
    """Redis has reached `maxmemory` and refuses every write."""

    name = "redis_full"
    hold_s = (5, 10)

    def inject(self, target: Target, random: Random) -> None:  # noqa: ARG002 # nothing to choose
        with target.redis() as client:
            client.config_set("maxmemory", 1)

    def recover(self, target: Target) -> None:
        with target.redis() as client, suppress(redis.RedisError):
            client.config_set("maxmemory", 0)


class WakeupsDoubled(Fault):
    """Each queue gets a thousand copies of one wake-up."""

    name = "wakeups_doubled"

    def inject(self, target: Target, random: Random) -> None:  # noqa: ARG002 # nothing to choose
        app: Celery[Any] = Celery(broker=target.installation.redis_url, set_as_current=False)
        with target.redis() as client:
            for queue in ("fetch", "render"):
                # To a queue that no worker consumes, so that the message is still there.
                app.send_task(f"worker_server.{queue}", queue=_APART)
                message = client.lpop(_APART)
                client.lpush(queue, *[message] * _COPIES)
        app.close()


class PostgresRestarted(Fault):
    """PostgreSQL is shut down at once or after its clients are cut off, and started again."""

    name = "postgres_restarted"

    def inject(self, target: Target, random: Random) -> None:
        processes = target.processes("postgres")
        if not processes:
            raise NotInjected("postgres does not run")
        processes[0].send_signal(random.choice([signal.SIGINT, signal.SIGQUIT]))


class DatabaseConnectionsCut(Fault):
    """PostgreSQL ends every connection of the services."""

    name = "database_connections_cut"

    def inject(self, target: Target, random: Random) -> None:  # noqa: ARG002 # nothing to choose
        target.rows(_CUT)


class PostgresReadOnly(Fault):
    """PostgreSQL takes no writes, as a provider sets it where the disk is full."""

    name = "postgres_read_only"
    hold_s = (8, 20)

    def inject(self, target: Target, random: Random) -> None:  # noqa: ARG002 # nothing to choose
        self._set(target, "ALTER SYSTEM SET default_transaction_read_only = on")

    def recover(self, target: Target) -> None:
        self._set(target, "ALTER SYSTEM RESET default_transaction_read_only")

    def _set(self, target: Target, statement: str) -> None:
        target.rows(statement)
        target.rows("SELECT pg_reload_conf()")


class PostgresOutOfConnections(Fault):
    """Another program has taken all connections: "sorry, too many clients already"."""

    name = "postgres_out_of_connections"
    hold_s = (8, 20)

    def __init__(self) -> None:
        self._connections: list[extensions.connection] = []

    def inject(self, target: Target, random: Random) -> None:  # noqa: ARG002 # all are taken
        target.rows(_CUT)
        with suppress(psycopg2.OperationalError):
            while True:
                self._connections.append(_connect(target))

    def recover(self, target: Target) -> None:  # noqa: ARG002 # they are ours
        while self._connections:
            self._connections.pop().close()


class TablesLocked(Fault):
    """A VACUUM FULL by hand locks the tables for longer than statements may take."""

    name = "tables_locked"
    hold_s = (12, 20)

    def __init__(self) -> None:
        self._connection: extensions.connection | None = None

    def inject(self, target: Target, random: Random) -> None:  # noqa: ARG002 # nothing to choose
        self._connection = _connect(target)
        with self._connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '60s'")
            cursor.execute("LOCK TABLE tasks, parts IN SHARE ROW EXCLUSIVE MODE")

    def recover(self, target: Target) -> None:  # noqa: ARG002 # it is ours
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _connect(target: Target) -> extensions.connection:
    """Connect as the workers do; the superuser's last connections stay free."""
    return psycopg2.connect(
        host="127.0.0.1",
        port=target.installation.ports.postgres,
        dbname=DATABASE,
        user="worker",
        password=target.installation.secrets.worker_db_password,
    )
