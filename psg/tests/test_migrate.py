"""The schema goes up and down, agrees with the models, and each role sees only what is its own."""

import uuid
from collections.abc import Iterator

import psycopg2
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, MetaData, inspect

from idrl_local.pytest_plugin import Database, create_database
from psg import migrate
from web_server.models import Base as WebBase
from worker_server.models import Base as WorkerBase


@pytest.fixture
def scratch(postgres_port: int) -> Database:
    """An empty database of its own."""
    name = f"scratch_{uuid.uuid4().hex}"
    create_database(postgres_port, name)
    return Database(postgres_port, name=name)


@pytest.fixture
def engine(scratch: Database) -> Iterator[Engine]:
    engine = migrate.engine_for(scratch.settings())
    yield engine
    engine.dispose()


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


def test_upgrade_then_downgrade_leaves_nothing(scratch: Database, engine: Engine) -> None:
    migrate.upgrade(engine, scratch.settings())
    assert tables(engine) == {"users", "tasks", "parts", "alembic_version"}
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
    scratch.execute("INSERT INTO users (username, email, password_hash) VALUES ('a', 'a@example.com', 'x')")
    migrate.upgrade(engine, scratch.settings())
    assert scratch.execute("SELECT username FROM users") == [("a",)]


def test_the_models_are_the_schema(scratch: Database, engine: Engine) -> None:
    migrate.upgrade(engine, scratch.settings())
    both = MetaData()
    for base in (WebBase, WorkerBase):
        for table in base.metadata.tables.values():
            table.to_metadata(both)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, both) == []


@pytest.mark.parametrize(
    ("role", "table", "allowed"),
    [
        ("web", "users", True),
        ("web", "tasks", False),
        ("web", "parts", False),
        ("worker", "users", False),
        ("worker", "tasks", True),
        ("worker", "parts", True),
    ],
)
def test_a_role_sees_only_its_own_tables(database: Database, role: str, table: str, allowed: bool) -> None:
    connection = psycopg2.connect(
        host=database.host, port=database.port, dbname=database.name, user=role, password=database.password
    )
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
