"""The connection to PostgreSQL, and transactions that outlive a short outage of it."""

import logging
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import psycopg2
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from pydantic_core import from_json
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry
from tenacity import (
    Retrying,
    before_sleep_log,
    retry_if_exception,
    stop_after_delay,
    wait_exponential_jitter,
)

from idrl_common.database import transactions
from worker_server.models import Base

P = ParamSpec("P")
T = TypeVar("T")

db = SQLAlchemy(model_class=Base)
transaction = transactions(db.session)


# A connection that was used so short a time ago is lent without a look at it: the database takes longer to start anew.
_FRESH_S = 0.1


def _note_return(_: object, record: ConnectionPoolEntry) -> None:
    record.info["returned_at"] = time.monotonic()


def _refuse_dead(connection: Any, record: ConnectionPoolEntry, _: object) -> None:  # noqa: ANN401 # psycopg2's own
    """Have the pool make a new connection where the server has hung up: only then does an idle one have news for us.

    A look at the socket instead of a question to the server, which would be one more round trip for every call.
    """
    now = time.monotonic()
    if now - record.info.get("returned_at", now) < _FRESH_S:
        return
    socket = select.poll()
    socket.register(connection.fileno(), select.POLLIN)
    if socket.poll(0):
        raise DisconnectionError


def _roll_back(connection: Any, *_: object) -> None:  # noqa: ANN401 # psycopg2's own
    """End the transaction of a connection that comes back, if there is one."""
    if connection.get_transaction_status() != TRANSACTION_STATUS_IDLE:
        connection.rollback()


def _leave_autocommit(connection: Connection) -> None:
    """Make a connection that was used by `fetch_json` fit for a transaction."""
    driver: Any = connection.connection.driver_connection
    if driver.autocommit:
        driver.autocommit = False


# Each call of psycopg2's that may wait, and each poll, lets another thread go first: with all threads at work that
# takes longer than the call itself. So what looks at tasks do not need is left out.
ENGINE_OPTIONS = {
    "pool_events": [(_refuse_dead, "checkout"), (_note_return, "checkin"), (_roll_back, "reset")],
    "pool_reset_on_return": None,
    "pool_size": 10,
    "pool_use_lifo": True,  # the one whose server process still has everything in its caches
    "max_overflow": 10,
    "pool_timeout": 5,
    "pool_recycle": 1800,
    "hide_parameters": True,  # an error's text goes to the log, and URLs may hold secrets
}

# How long a worker holds on to the result of its work while the database is away.
_PATIENCE_S = 300
_log = logging.getLogger(__name__)


def install(app: Flask) -> None:
    """Connect the app, once its configuration is there."""
    db.init_app(app)
    with app.app_context():
        event.listen(db.engine, "begin", _leave_autocommit)


@dataclass(frozen=True)
class PreparedQuery:
    """A statement that only reads and gives one value, as JSON in a text; `types` are those of $1, $2 and so on.

    A connection plans it once, under `name`: planning takes PostgreSQL longer than all else that it does for a look.
    """

    name: str
    types: str
    statement: str

    def execute(self, driver: Any, known: dict[Any, Any], values: Sequence[object]) -> Any:  # noqa: ANN401 # untyped; JSON
        """Return the value, None without one; `known` holds the names that the connection has planned before."""
        with driver.cursor() as cursor:
            if self.name not in known:
                cursor.execute(f"PREPARE {self.name} ({self.types}) AS {self.statement}")
                known[self.name] = True
            cursor.execute(f"EXECUTE {self.name} ({', '.join(['%s'] * len(values))})", values)
            row = cursor.fetchone()
            return from_json(row[0]) if row and row[0] else None


def fetch_json(query: PreparedQuery, *values: object) -> Any:  # noqa: ANN401 # JSON has no types
    """Return what the look gives: no BEGIN, no ROLLBACK, one round trip. Errors are SQLAlchemy's."""
    try:
        return _fetch_json(query, values)
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        # Whoever cut this connection may have cut all of them.
        db.engine.dispose()
        return _fetch_json(query, values)


def _fetch_json(query: PreparedQuery, values: Sequence[object]) -> Any:  # noqa: ANN401 # JSON has no types
    """Read over a connection of the pool by the driver alone: SQLAlchemy's execution takes three times as long."""
    try:
        connection: Any = db.engine.raw_connection()
    except psycopg2.Error as error:
        raise _as_sqlalchemys(error, lost=False) from error
    driver = connection.driver_connection
    try:
        if not driver.autocommit:
            driver.autocommit = True
        return query.execute(driver, connection.info, values)
    except psycopg2.Error as error:
        if driver.closed:
            connection.invalidate(error)
        raise _as_sqlalchemys(error, lost=bool(driver.closed)) from error
    finally:
        connection.close()


def _as_sqlalchemys(error: psycopg2.Error, *, lost: bool) -> BaseException:
    return DBAPIError.instance(
        None, None, error, psycopg2.Error, hide_parameters=True, connection_invalidated=lost
    )


def persistently(write: Callable[P, T]) -> Callable[P, T]:
    """Repeat `write` while the database is away. It must be safe to run twice: a commit may get through unheard."""
    retrying = Retrying(
        retry=retry_if_exception(_is_outage),
        wait=wait_exponential_jitter(multiplier=0.2, max=5),
        stop=stop_after_delay(_PATIENCE_S),
        before_sleep=before_sleep_log(_log, logging.WARNING),
        reraise=True,
    )

    @wraps(write)
    def persistent(*args: P.args, **kwargs: P.kwargs) -> T:
        return retrying(write, *args, **kwargs)

    return persistent


def _is_outage(error: BaseException) -> bool:
    return isinstance(error, OperationalError) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )
