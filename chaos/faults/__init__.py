"""The kinds of faults. A new kind is a class with `inject` and `recover`, and a line here."""

from chaos.faults.base import Fault, NotInjected
from chaos.faults.failover import PostgresFailedOver
from chaos.faults.network import SourceUnavailable
from chaos.faults.programs import (
    ChildKilled,
    MediaChildKilled,
    ProgramFrozen,
    ProgramKilled,
    ProgramsStopped,
    restarted,
)
from chaos.faults.share import (
    FileUnremovable,
    ShareFrozen,
    ShareFull,
    ShareLow,
    ShareReadOnly,
    ShareUnmounted,
    ShareWithoutInodes,
)
from chaos.faults.stores import (
    DatabaseConnectionsCut,
    PostgresOutOfConnections,
    PostgresReadOnly,
    PostgresRestarted,
    RedisEmptied,
    RedisFull,
    RedisLosesItsDisk,
    TablesLocked,
    WakeupsDoubled,
)

__all__ = ["KINDS", "Fault", "NotInjected"]

# A frozen worker is frozen for longer than its lease.
_PAST_THE_LEASE_S = (15, 25)
_SERVICES = ("fetch", "render", "sweep", "tasks", "web")

KINDS: tuple[Fault, ...] = (
    *(ProgramKilled(name) for name in (*_SERVICES, "nginx", "redis", "postgres")),
    *(ChildKilled(name) for name in ("fetch", "render", "tasks", "web")),
    MediaChildKilled(),
    *(restarted(name) for name in (*_SERVICES, "nginx")),
    ProgramFrozen("fetch", _PAST_THE_LEASE_S),
    ProgramFrozen("render", _PAST_THE_LEASE_S),
    ProgramFrozen("sweep", (10, 20)),
    ProgramFrozen("tasks", (5, 18)),
    ProgramFrozen("web", (5, 12)),
    ProgramFrozen("redis", (8, 20)),
    ProgramFrozen("postgres", (8, 20)),
    ProgramsStopped("no_workers", "fetch", "render", hold_s=(5, 12)),
    ProgramsStopped("redis_stopped", "redis", hold_s=(5, 15)),
    ProgramsStopped("postgres_stopped", "postgres", hold_s=(5, 15)),
    RedisEmptied(),
    RedisLosesItsDisk(),
    RedisFull(),
    WakeupsDoubled(),
    PostgresRestarted(),
    DatabaseConnectionsCut(),
    PostgresFailedOver(),
    PostgresOutOfConnections(),
    PostgresReadOnly(),
    TablesLocked(),
    ShareFrozen(),
    ShareReadOnly(),
    ShareUnmounted(),
    ShareFull(),
    ShareLow(),
    ShareWithoutInodes(),
    FileUnremovable(),
    SourceUnavailable(),
)
