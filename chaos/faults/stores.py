"""Faults of Redis and PostgreSQL beyond those of their processes."""

import shutil
import signal
from contextlib import suppress
from random import Random
from typing import Any

import redis
from celery import Celery

from chaos.faults.base import Fault, NotInjected
from chaos.faults.programs import ProgramKilled
from chaos.target import Target

_COPIES = 1000
_APART = "chaos"


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
        target.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE usename IN ('web', 'worker')"
        )
