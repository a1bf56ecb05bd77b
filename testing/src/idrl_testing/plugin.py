"""What every test suite shares: a real PostgreSQL with the migrated schema, a real Redis.

It also turns Hypothesis's time limits off: how long an example takes depends on what else the
machine does.
"""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from idrl_common import health
from idrl_local import servers
from idrl_testing.database import PASSWORD, Database, create_database
from idrl_testing.processes import running
from psg import migrate

pytest.register_assert_rewrite(
    "idrl_testing.api_client", "idrl_testing.problems", "idrl_testing.waiting"
)

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture
def long_probe_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the probes of `/ready`; one that a busy machine runs late has failed otherwise."""
    from idrl_testing.waiting import LIMIT_S  # pytest is to rewrite it before

    failure = health._failure  # noqa: SLF001 # there is no setting for it
    monkeypatch.setattr(health, "_failure", lambda run, _: failure(run, LIMIT_S))


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
    servers.init_postgres(binaries, data, "postgres", PASSWORD)
    port = servers.free_port()
    # No test here depends on durability, and durability makes each of them slower.
    command = servers.postgres_command(
        binaries, data, port, "fsync=off", "synchronous_commit=off", "max_connections=200"
    )
    with running(command, data.with_name("postgres.log")) as process:
        servers.wait_for_postgres(port, "postgres", PASSWORD, process)
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
    migrated_database.truncate()
    return migrated_database


@pytest.fixture(scope="session")
def redis_url(
    binaries: servers.Binaries, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a Redis that lives as long as the test run."""
    data = tmp_path_factory.mktemp("redis")
    port = servers.free_port()
    command = servers.redis_command(binaries, data, port, PASSWORD)
    with running(command, data / "redis.log") as process:
        servers.wait_for_port(port, process)
        yield f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
