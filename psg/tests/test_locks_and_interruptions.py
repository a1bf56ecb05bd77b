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


@pytest.mark.parametrize("revision", ["0013", "0016", "0022"])
def test_the_system_works_while_a_migration_waits_for_a_backup(
    scratch: Database, engine: Engine, revision: str
) -> None:
    migrate.upgrade(engine, scratch.settings(), revision)
    with engine.connect() as backup, ThreadPoolExecutor(1) as pool:
        # As pg_dump does, for as long as it takes.
        backup.execute(text("LOCK TABLE tasks IN ACCESS SHARE MODE"))
        upgrade = pool.submit(migrate.upgrade, engine, scratch.settings())
        try:
            wait_until(lambda: scratch.execute(_WAITS))
            scratch.execute(f"SET lock_timeout = '10s'; {_INSERT}")
        finally:
            backup.rollback()
        upgrade.result()
    assert scratch.execute("SELECT count(*) FROM tasks") == [(1,)]
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) >= "0023"


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
