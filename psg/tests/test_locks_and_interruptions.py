"""A migration that waits or is interrupted blocks no other transaction, and continues."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import Connection, Engine, event, text

from idrl_testing.database import Database
from idrl_testing.waiting import wait_until
from psg import migrate

_INSERT = "INSERT INTO tasks (id, owner_id, url) VALUES (gen_random_uuid(), 1, '')"
_WAITS = "SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
_WAITS_FOR_WRITERS = "SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'ShareRowExclusiveLock'"


def _write_beside_waiting(
    scratch: Database, engine: Engine, locking: str, waits: str, revision: str
) -> None:
    """Insert a task while a migration waits for a transaction that has executed `locking`."""
    with engine.connect() as other, ThreadPoolExecutor(1) as pool:
        other.execute(text(locking))
        upgrade = pool.submit(migrate.upgrade, engine, scratch.settings(), revision)
        try:
            wait_until(lambda: scratch.execute(waits))
            scratch.execute(f"SET lock_timeout = '10s'; {_INSERT}")
        finally:
            other.rollback()
        upgrade.result()


@pytest.mark.parametrize("revision", ["0013", "0016", "0022"])
def test_the_system_works_while_a_migration_waits_for_a_backup(
    scratch: Database, engine: Engine, revision: str
) -> None:
    migrate.upgrade(engine, scratch.settings(), revision)
    # As pg_dump does, for as long as it takes.
    _write_beside_waiting(scratch, engine, "LOCK TABLE tasks IN ACCESS SHARE MODE", _WAITS, "head")
    assert scratch.execute("SELECT count(*) FROM tasks") == [(1,)]
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) >= "0023"


def test_writers_go_on_while_a_migration_waits_for_one_of_them(
    scratch: Database, engine: Engine
) -> None:
    migrate.upgrade(engine, scratch.settings(), "0020")
    # The first one is as a psql that was forgotten.
    _write_beside_waiting(scratch, engine, _INSERT, _WAITS_FOR_WRITERS, "0021")
    assert scratch.execute("SELECT count(*) FROM tasks") == [(1,)]
    triggers = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%owner_exists'"
    assert scratch.execute(triggers) == [(7,)]


_LOCK_PARTS = "LOCK TABLE parts IN ROW EXCLUSIVE MODE"
_LOCK_TASKS = "LOCK TABLE tasks IN ROW EXCLUSIVE MODE"
_ADD_EVENT = "INSERT INTO task_events (task_id, kind) SELECT id, 'claimed' FROM tasks"


@pytest.mark.parametrize(
    ("before", "after", "locked", "first", "second"),
    [
        ("0013", "0014", "parts", _LOCK_PARTS, _LOCK_TASKS),  # as a heartbeat of a part
        ("0019", "0018", "tasks", _LOCK_TASKS, _ADD_EVENT),  # as a worker that ends a task
    ],
)
def test_a_migration_outlasts_a_deadlock(
    scratch: Database, engine: Engine, before: str, after: str, locked: str, first: str, second: str
) -> None:
    migrate.upgrade(engine, scratch.settings(), before)
    waits = f"{_WAITS} AND relation = '{locked}'::regclass"  # a table's name
    with engine.connect() as worker, ThreadPoolExecutor(1) as pool:
        worker.execute(text("SET deadlock_timeout = '60s'"))  # the worker is not the victim
        worker.execute(text(first))
        if after > before:
            migration = pool.submit(migrate.upgrade, engine, scratch.settings(), after)
        else:
            migration = pool.submit(migrate.downgrade, engine, after)
        try:
            wait_until(lambda: scratch.execute(waits))
            worker.execute(text(second))
        finally:
            worker.rollback()
        migration.result()
    assert scratch.execute("SELECT version_num FROM alembic_version") == [(after,)]


@pytest.mark.parametrize("direction", ["upgrade", "downgrade"])
def test_a_migration_that_was_interrupted_anywhere_goes_on(
    scratch: Database, engine: Engine, direction: str
) -> None:
    """Each statement outside a transaction is interrupted once; within one, nothing is left."""
    if direction == "downgrade":
        migrate.upgrade(engine, scratch.settings())
    interrupted: set[str] = set()

    def interrupt(connection: Connection, _: object, statement: str, *__: object) -> None:
        driver_connection = connection.connection.driver_connection
        assert driver_connection is not None
        if driver_connection.autocommit and statement not in interrupted:
            interrupted.add(statement)
            raise InterruptedError

    event.listen(engine, "after_cursor_execute", interrupt)
    while True:
        with suppress(InterruptedError):
            if direction == "upgrade":
                migrate.upgrade(engine, scratch.settings())
            else:
                migrate.downgrade(engine, "base")
            break
    assert len(interrupted) > 10
