"""The connection to PostgreSQL, and transactions that outlive a short outage of it."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import psycopg2
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from pydantic_core import from_json
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import scoped_session
from tenacity import (
    Retrying,
    before_sleep_log,
    retry_if_exception,
    stop_after_delay,
    wait_exponential_jitter,
)

from idrl_common.database import (
    LIVENESS_EVENTS,
    SESSION_OPTIONS,
    CheckoutLimit,
    is_outage,
    leave_read_only_servers,
    sqlstate,
    transactions,
)
from worker_server.models import Base

P = ParamSpec("P")
T = TypeVar("T")

db = SQLAlchemy(model_class=Base, session_options=SESSION_OPTIONS)
_transaction = transactions(db.session)
# Name in the error raised by the trigger that rejects rows of a deleted account.
_OWNER_EXISTS = "owner_exists"
_LOCK_NOT_AVAILABLE = "55P03"


class AccountDeleted(Exception):
    """The account for which a row was added has been deleted meanwhile."""

    def __init__(self) -> None:
        super().__init__("The account has been deleted.")


class RowLocked(Exception):
    """Another transaction, such as one left open by hand, holds a lock for too long."""


@contextmanager
def transaction() -> Iterator[scoped_session[Session]]:
    """Commit what the block does, or roll it back on a raise; raise AccountDeleted."""
    try:
        with _transaction() as session:
            yield session
    except IntegrityError as error:
        diagnostics = getattr(error.orig, "diag", None)
        if diagnostics and diagnostics.constraint_name == _OWNER_EXISTS:
            raise AccountDeleted from error
        raise


@contextmanager
def transaction_within(lock_wait_s: float) -> Iterator[scoped_session[Session]]:
    """As `transaction`; raise RowLocked where it waits for a lock for `lock_wait_s`.

    Only for blocks that are no part of another transaction, whose waits it would limit too.
    """
    limit = {"wait": f"{lock_wait_s * 1000:.0f}ms"}
    try:
        with transaction() as session:
            session.execute(text("SELECT set_config('lock_timeout', :wait, true)"), limit)
            yield session
    except OperationalError as error:
        if sqlstate(error) == _LOCK_NOT_AVAILABLE:
            raise RowLocked from error
        raise


@contextmanager
def transaction_without_flush() -> Iterator[scoped_session[Session]]:
    """As `transaction`, whose commit does not wait until it is on PostgreSQL's disk.

    For what is written again within seconds, such as heartbeats: when PostgreSQL crashes, it loses
    the last 0.6 s of these (three times `wal_writer_delay`). Only for blocks that are no part of
    another transaction, whose commit would not wait either.
    """
    with transaction() as session:
        session.execute(text("SET LOCAL synchronous_commit = off"))
        yield session


def _roll_back(connection: Any, *_: object) -> None:  # noqa: ANN401 # psycopg2's own
    """End the open transaction of a returned connection, if there is one."""
    if connection.get_transaction_status() != TRANSACTION_STATUS_IDLE:
        connection.rollback()


def _leave_autocommit(connection: Connection) -> None:
    """Switch off the autocommit mode that `fetch_json` leaves on a connection."""
    driver: Any = connection.connection.driver_connection
    if driver.autocommit:
        driver.autocommit = False


# psycopg2 releases the GIL around every call that may block; with all threads busy, getting it back
# takes longer than the call. So read queries skip BEGIN, ROLLBACK and the pre-ping.
ENGINE_OPTIONS: dict[str, Any] = {
    "pool_events": [*LIVENESS_EVENTS, (_roll_back, "reset")],
    "pool_reset_on_return": None,
    "pool_size": 10,
    "pool_use_lifo": True,  # the most recently used backend has warm caches
    "max_overflow": 10,
    "pool_timeout": 5,
    "pool_recycle": 1800,
    "hide_parameters": True,  # errors are logged, and parameters may contain URLs with secrets
}

# A call of the service is answered within 15 s, so none may use a connection for longer than this.
_SERVICE_LIMIT_S = 6.0


def service_engine_options(limit_s: float = _SERVICE_LIMIT_S) -> dict[str, object]:
    """Return the options for the HTTP service: a hanging server costs a call `limit_s` at most.

    Not for workers and the sweeper, whose transactions may take longer.
    """
    events = [*ENGINE_OPTIONS["pool_events"], *CheckoutLimit(limit_s).pool_events]
    return {**ENGINE_OPTIONS, "pool_events": events}


# How long a worker retries to write a result while the database is unavailable.
_RETRY_LIMIT_S = 300
_log = logging.getLogger(__name__)


def install(app: Flask) -> None:
    """Register the database with the configured app."""
    db.init_app(app)
    with app.app_context():
        event.listen(db.engine, "begin", _leave_autocommit)
        leave_read_only_servers(db.engine)


@dataclass(frozen=True)
class PreparedQuery:
    """A read-only statement that returns one JSON text; `types` are those of $1, $2 and so on.

    Each connection prepares it once, under `name`: planning takes longer than executing.
    """

    name: str
    types: str
    statement: str

    def execute(
        self,
        driver: Any,  # noqa: ANN401 # untyped
        known: dict[Any, Any],
        values: Sequence[object],
    ) -> str | None:
        """Return the text, or None; `known` has the names that the connection has prepared."""
        with driver.cursor() as cursor:
            if self.name not in known:
                cursor.execute(self.preparation)
                known[self.name] = True
            cursor.execute(self.execution, values)
            row = cursor.fetchone()
            return row[0] if row else None

    @property
    def preparation(self) -> str:
        """The statement that prepares the query on a connection."""
        return f"PREPARE {self.name} ({self.types}) AS {self.statement}"

    @property
    def execution(self) -> str:
        """The statement that executes the prepared query, with a placeholder for each value."""
        return f"EXECUTE {self.name} ({', '.join(['%s'] * (self.types.count(',') + 1))})"


def parsed_json(text: str | None) -> Any:  # noqa: ANN401 # JSON has no types
    """Return what a query returned as JSON, None for nothing."""
    return from_json(text) if text else None


def fetch_json_within(query: PreparedQuery, *values: object) -> Any:  # noqa: ANN401 # JSON
    """As `fetch_json`, in the open `transaction`: what it has locked stays as the answer says."""
    connection = db.session.connection()
    if query.name not in connection.info:
        connection.exec_driver_sql(query.preparation)
        connection.info[query.name] = True
    return parsed_json(connection.exec_driver_sql(query.execution, values).scalar())


def fetch_json(query: PreparedQuery, *values: object) -> Any:  # noqa: ANN401 # JSON has no types
    """As `fetch_text`; return the JSON, parsed."""
    return parsed_json(fetch_text(query, *values))


def fetch_text(query: PreparedQuery, *values: object) -> str | None:
    """Execute the query without BEGIN and ROLLBACK, in one round trip.

    Raises SQLAlchemy's errors.
    """
    try:
        return _fetch_text(query, values)
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        # If this connection was cut, all others may have been cut too.
        db.engine.dispose()
        return _fetch_text(query, values)


def _fetch_text(query: PreparedQuery, values: Sequence[object]) -> str | None:
    """Execute on a pooled connection by the driver alone: SQLAlchemy takes three times as long."""
    try:
        connection: Any = db.engine.raw_connection()
    except psycopg2.Error as error:
        raise _sqlalchemy_error(error, lost=False) from error
    driver = connection.driver_connection
    try:
        if not driver.autocommit:
            driver.autocommit = True
        return query.execute(driver, connection.info, values)
    except psycopg2.Error as error:
        if driver.closed:
            connection.invalidate(error)
        raise _sqlalchemy_error(error, lost=bool(driver.closed)) from error
    finally:
        connection.close()


def _sqlalchemy_error(error: psycopg2.Error, *, lost: bool) -> BaseException:
    return DBAPIError.instance(
        None, None, error, psycopg2.Error, hide_parameters=True, connection_invalidated=lost
    )


def retry_outages(write: Callable[P, T]) -> Callable[P, T]:
    """Retry `write` while the database is unavailable or refuses it, for `_RETRY_LIMIT_S` at most.

    `write` must be idempotent: the answer to a commit may get lost.
    """
    retrying = Retrying(
        retry=retry_if_exception(is_outage),
        wait=wait_exponential_jitter(multiplier=0.2, max=5),
        stop=stop_after_delay(_RETRY_LIMIT_S),
        before_sleep=before_sleep_log(_log, logging.WARNING),
        reraise=True,
    )

    @wraps(write)
    def persistent(*args: P.args, **kwargs: P.kwargs) -> T:
        return retrying(write, *args, **kwargs)

    return persistent
