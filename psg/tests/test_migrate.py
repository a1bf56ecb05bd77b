"""The schema goes up and down, agrees with the models, and each role sees only what is its own."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Engine, MetaData, event, inspect, text

from idrl_testing.database import Database
from psg import migrate
from web_server.models import Base as WebBase
from worker_server.models import Base as WorkerBase


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


def test_upgrade_then_downgrade_leaves_nothing(scratch: Database, engine: Engine) -> None:
    migrate.upgrade(engine, scratch.settings())
    assert tables(engine) == {
        *("users", "login_failures", "api_keys", "invitations"),
        *("tasks", "parts", "batches", "uploads", "brands", "brand_defaults", "alembic_version"),
        *("webhooks", "webhook_deliveries", "callback_secrets"),
        *("task_events", "removals", "workers", "sweeps", "queue_pauses"),
        *("retention", "usage_days"),
        *("metric_increments", "metric_totals"),
    }
    migrate.downgrade(engine, "base")
    assert tables(engine) == {"alembic_version"}
    migrate.upgrade(engine, scratch.settings())
    assert "tasks" in tables(engine)


def test_a_migration_notices_that_it_was_cut_off_and_may_take_its_time(scratch: Database) -> None:
    query = scratch.settings().database_url.query
    assert (query["connect_timeout"], query["tcp_user_timeout"]) == ("5", "15000")
    assert "options" not in query


def test_upgrade_twice_changes_nothing(scratch: Database, engine: Engine) -> None:
    migrate.upgrade(engine, scratch.settings())
    scratch.execute(
        "INSERT INTO users (username, email, password_hash) VALUES ('a', 'a@example.com', 'x')"
    )
    migrate.upgrade(engine, scratch.settings())
    assert scratch.execute("SELECT username FROM users") == [("a",)]


def test_the_schema_of_a_newer_release_stays(
    scratch: Database, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator who goes back to this release starts it on the schema that is there."""
    migrate.upgrade(engine, scratch.settings())
    scratch.execute("UPDATE alembic_version SET version_num = '9998'")
    migrate.upgrade(engine, scratch.settings())
    assert scratch.execute("SELECT version_num FROM alembic_version") == [("9998",)]
    assert "newer release (9998)" in caplog.text


def test_the_schema_of_another_program_is_refused(scratch: Database, engine: Engine) -> None:
    scratch.execute("CREATE TABLE alembic_version (version_num text)")
    scratch.execute("INSERT INTO alembic_version VALUES ('ae1027a6acf')")
    with pytest.raises(CommandError, match="ae1027a6acf"):
        migrate.upgrade(engine, scratch.settings())


def test_the_models_are_the_schema(scratch: Database, engine: Engine) -> None:
    migrate.upgrade(engine, scratch.settings())
    both = MetaData()
    for base in (WebBase, WorkerBase):
        for table in base.metadata.tables.values():
            table.to_metadata(both)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, both) == []


def test_two_upgrades_at_once(scratch: Database, engine: Engine) -> None:
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(lambda _: migrate.upgrade(engine, scratch.settings()), range(2)):
            pass
    assert "tasks" in tables(engine)


def test_an_upgrade_continues_after_it_was_interrupted(scratch: Database, engine: Engine) -> None:
    migrate.upgrade(engine, scratch.settings(), "0001")
    # An index of this name stands for one that an interrupted upgrade left.
    scratch.execute("CREATE INDEX tasks_queued_by_owner ON tasks (id)")
    migrate.upgrade(engine, scratch.settings())
    ((definition,),) = scratch.execute(
        "SELECT indexdef FROM pg_indexes WHERE indexname = 'tasks_queued_by_owner'"
    )
    assert "(owner_id, created_at, run_after)" in str(definition)


def test_the_system_works_while_indexes_are_built(scratch: Database, engine: Engine) -> None:
    migrate.upgrade(engine, scratch.settings(), "0001")
    insert = "INSERT INTO tasks (id, owner_id, url) VALUES (gen_random_uuid(), 1, '')"
    with engine.connect() as writer, ThreadPoolExecutor(1) as pool:
        writer.execute(text(insert))
        upgrade = pool.submit(migrate.upgrade, engine, scratch.settings())
        while not scratch.execute(
            "SELECT 1 FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%'"
        ):
            assert not upgrade.done()
        scratch.execute(f"SET lock_timeout = '5s'; {insert}")
        writer.commit()
        upgrade.result()
    assert scratch.execute("SELECT count(*) FROM tasks") == [(2,)]


def test_the_system_works_while_a_constraint_is_validated(
    scratch: Database, engine: Engine
) -> None:
    exclusive: list[list[tuple[object, ...]]] = []

    def record_locks(_: object, __: object, statement: str, *___: object) -> None:
        if "VALIDATE CONSTRAINT" in statement:
            exclusive.append(
                scratch.execute(
                    "SELECT relation::regclass FROM pg_locks WHERE mode = 'AccessExclusiveLock'"
                )
            )

    event.listen(engine, "before_cursor_execute", record_locks)
    migrate.upgrade(engine, scratch.settings())
    migrate.downgrade(engine, "0016")
    assert exclusive == [[], []]


@pytest.mark.parametrize(
    ("role", "table", "allowed"),
    [
        ("web", "users", True),
        ("web", "login_failures", True),
        ("worker", "login_failures", False),
        ("web", "api_keys", True),
        ("worker", "api_keys", False),
        ("web", "invitations", True),
        ("worker", "invitations", False),
        ("web", "tasks", False),
        ("web", "parts", False),
        ("worker", "tasks", True),
        ("worker", "parts", True),
        ("worker", "task_events", True),
        ("worker", "removals", True),
        ("worker", "workers", True),
        ("worker", "sweeps", True),
        ("worker", "queue_pauses", True),
        ("worker", "retention", True),
        ("web", "retention", False),
        ("worker", "usage_days", True),
        ("web", "task_events", False),
    ],
)
def test_a_role_sees_only_its_own_tables(
    database: Database, role: str, table: str, allowed: bool
) -> None:
    connection = database.connect(role)
    try:
        with connection.cursor() as cursor:
            if allowed:
                cursor.execute(f"SELECT count(*) FROM {table}")
                assert cursor.fetchone() == (0,)
            else:
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    cursor.execute(f"SELECT count(*) FROM {table}")
    finally:
        connection.close()


def test_worker_reads_of_accounts_only_their_quotas(database: Database) -> None:
    connection = database.connect("worker")
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT id, quotas FROM users")
        for column in ("username", "email", "password_hash", "role", "*"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(f"SELECT {column} FROM users")
            connection.rollback()
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("UPDATE users SET quotas = NULL")
