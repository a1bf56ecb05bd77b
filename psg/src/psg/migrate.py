"""Bring a database to a revision of the schema, or make a new revision."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg2.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.exc import OperationalError

from psg.roles import ROLES, ensure_role
from psg.settings import Settings

# Key of the advisory lock that keeps two `migrate` from running at once; unique in the database.
_LOCK = 0x1D41
# An ALTER TABLE that waits for a lock, behind pg_dump for example, makes all later statements wait
# behind itself. It is therefore canceled after _LOCK_WAIT_S (longer than autovacuum takes to cancel
# itself) and tried again after _RETRY_S.
_LOCK_WAIT_S = 2
_RETRY_S = 3
_log = logging.getLogger(__name__)


def engine_for(settings: Settings) -> Engine:
    """Return an engine on the database, which need not answer yet.

    Without a pool, so that advisory locks are released when a connection is closed.
    """
    return create_engine(settings.database_url, hide_parameters=True, poolclass=NullPool)


def wait_until_up(engine: Engine, timeout_s: float = 60) -> None:
    """Return when the database takes connections; raise OperationalError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            engine.connect().close()
        except OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def upgrade(engine: Engine, settings: Settings, revision: str = "head") -> None:
    """Create the roles and bring the schema up to `revision`.

    Safe to run twice, and by two at once. The schema of a newer release stays as it is: this one
    can work with it, and has to be able to start when an operator goes back to it.
    """
    passwords = dict(
        zip(ROLES, (settings.web_db_password, settings.worker_db_password), strict=True)
    )
    with _migration_lock(engine) as connection:
        with connection.begin():
            for name, password in passwords.items():
                ensure_role(connection, name, password)
        if newer := _newer_revision(connection):
            _log.warning("the schema is of a newer release (%s) and stays as it is", newer)
            return
        _run(lambda: command.upgrade(_config(connection), revision))


def downgrade(engine: Engine, revision: str) -> None:
    """Take the schema back to `revision` (`base` for an empty one); the roles stay."""
    with _migration_lock(engine) as connection:
        _run(lambda: command.downgrade(_config(connection), revision))


def _newer_revision(connection: Connection) -> str | None:
    """Return the revision of the schema where it is beyond this release's last one."""
    with connection.begin():
        current = MigrationContext.configure(connection).get_current_revision() or ""
    last = ScriptDirectory.from_config(_config(connection)).get_current_head() or ""
    is_newer = current.isdigit() and int(current) > int(last)
    return current if is_newer else None


def _run(step: Callable[[], None]) -> None:
    """Run an Alembic command until no lock stops it; it goes on where it was stopped.

    Running services lock the same tables in another order, so there may be a deadlock.
    """
    while True:
        try:
            step()
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable | DeadlockDetected):
                raise
            _log.warning("a transaction, such as a backup's, is using the table; trying again")
            time.sleep(_RETRY_S)
        else:
            return


def _limit_lock_waits(connection: Connection) -> None:
    """Limit the waits of the transaction that begins.

    Statements outside one, such as CREATE INDEX CONCURRENTLY, block no other and may run long.
    """
    with closing(connection.connection.cursor()) as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{_LOCK_WAIT_S}s'")


@contextmanager
def _migration_lock(engine: Engine) -> Iterator[Connection]:
    """Yield a connection while no other `migrate` runs; the lock ends with the connection.

    It polls with pg_try_advisory_lock: CREATE INDEX CONCURRENTLY waits for every transaction that
    is running, so it would deadlock with one that blocks in pg_advisory_lock.
    """
    with engine.connect() as connection:
        while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}):
            connection.rollback()
            time.sleep(0.2)
        connection.commit()
        event.listen(connection, "begin", _limit_lock_waits)
        yield connection


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
