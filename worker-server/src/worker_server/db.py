"""The connection to PostgreSQL, and transactions that outlive a short outage of it."""

import logging
import select
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import psycopg2
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from psycopg2.extras import NamedTupleCursor
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.orm import scoped_session
from tenacity import Retrying, before_sleep_log, retry_if_exception, stop_after_delay, wait_exponential_jitter

from worker_server.models import Base

P = ParamSpec("P")
T = TypeVar("T")

db = SQLAlchemy(model_class=Base)


def _refuse_dead(connection: Any, *_: object) -> None:  # noqa: ANN401 # psycopg2's own, as the pool lends it
    """Have the pool make a new connection where the server has hung up: only then does an idle one have news for us.

    A look at the socket instead of a question to the server, which would be one more round trip for every call.
    """
    socket = select.poll()
    socket.register(connection.fileno(), select.POLLIN)
    if socket.poll(0):
        raise DisconnectionError


ENGINE_OPTIONS = {
    "pool_events": [(_refuse_dead, "checkout")],
    "pool_size": 10,
    "max_overflow": 10,
    "pool_timeout": 5,
    "pool_recycle": 1800,
    "hide_parameters": True,  # an error's text goes to the log, and URLs may hold secrets
}

# How long a worker holds on to the result of its work while the database is away.
_PATIENCE_S = 300
_log = logging.getLogger(__name__)


@contextmanager
def transaction() -> Iterator[scoped_session[Session]]:
    """Commit when the block ends, roll back when it raises."""
    try:
        yield db.session
        db.session.commit()
    except BaseException:
        db.session.rollback()
        raise


def read(statement: str, values: Mapping[str, object]) -> list[Any]:
    """Return the rows of one statement that only reads: no BEGIN, no ROLLBACK, one round trip.

    By the driver alone: SQLAlchemy's execution takes three times as long, and its autocommit mode says a SET to the
    server each time. The names of the columns are attributes of the rows; errors are SQLAlchemy's all the same.
    """
    with db.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.autocommit = True
        try:
            with driver.cursor(cursor_factory=NamedTupleCursor) as cursor:
                cursor.execute(statement, values)
                rows: list[Any] = cursor.fetchall()
                return rows
        except psycopg2.Error as error:
            if driver.closed:
                connection.invalidate(error)
            raise _as_sqlalchemys(error, lost=bool(driver.closed)) from error
        finally:
            if not driver.closed:
                driver.autocommit = False


def _as_sqlalchemys(error: psycopg2.Error, *, lost: bool) -> BaseException:
    return DBAPIError.instance(None, None, error, psycopg2.Error, hide_parameters=True, connection_invalidated=lost)


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
    return isinstance(error, OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated)
