"""Transactions and the bound on their time, the same in every app."""

import logging
import math
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Engine, ExceptionContext, event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.pool import ConnectionPoolEntry

from idrl_common.health import Check

_log = logging.getLogger(__name__)
SessionT = TypeVar("SessionT", bound=Session)
# SQLSTATEs of psycopg2's OperationalError that are our own mistake, and fail each time: no such
# prepared statement or cursor, a limit of PostgreSQL, an object in the wrong state.
_MISTAKES = ("26", "34", "54", "55000")
# An outage, though not an OperationalError of psycopg2: a standby after a failover, or a server
# whose provider found its disk full.
_READ_ONLY = "25006"
# Key in `Session.info` while a block of `transaction` is being executed.
_IS_OPEN = "idrl.transaction"
# Rows that were read stay readable after the commit: `transactions` detaches them.
SESSION_OPTIONS: dict[str, Any] = {"expire_on_commit": False}
Transaction = Callable[[], AbstractContextManager[scoped_session[SessionT]]]


def transactions(session: scoped_session[SessionT]) -> Transaction[SessionT]:
    """Return `transaction`: its block gets `session`, and commits, or rolls back on a raise.

    Its rows are detached then: they stay as they were, and the next block reads them again.
    `session` has SESSION_OPTIONS. A block within another one belongs to it: with a commit of its
    own it would end the other's transaction half-way, and release its locks.
    """

    @contextmanager
    def transaction() -> Iterator[scoped_session[SessionT]]:
        info = session.info
        if _IS_OPEN in info:
            yield session
            return
        info[_IS_OPEN] = True
        try:
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            raise
        finally:
            session.expunge_all()
            del info[_IS_OPEN]

    return transaction


# Skip the check of a connection that was used this recently: PostgreSQL cannot have restarted
# since.
_FRESH_S = 0.1


def _refuse_closed(driver: Any, record: ConnectionPoolEntry, _: object) -> None:  # noqa: ANN401 # psycopg2's
    """Raise DisconnectionError, so that the pool reconnects, where the server closed this one.

    An idle connection becomes readable only when the server closes it. A poll of its socket
    therefore replaces the usual test query, which takes a round trip and might hang.
    """
    now = time.monotonic()
    if now - record.info.get("returned_at", -math.inf) < _FRESH_S:
        return
    poll = select.poll()
    poll.register(driver.fileno(), select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError


def _record_return(_: object, record: ConnectionPoolEntry) -> None:
    record.info["returned_at"] = time.monotonic()


# What SQLAlchemy's pool needs as `pool_events` to replace connections that the server has closed.
LIVENESS_EVENTS: list[tuple[Callable[..., None], str]] = [
    (_refuse_closed, "checkout"),
    (_record_return, "checkin"),
]


def sqlstate(error: BaseException) -> str:
    """Return PostgreSQL's code of the error; empty where the server has sent none."""
    return getattr(getattr(error, "orig", None), "pgcode", None) or ""


def is_read_only(error: BaseException) -> bool:
    """Return whether the server takes no writes, as a standby does."""
    return sqlstate(error) == _READ_ONLY


def is_outage(error: BaseException) -> bool:
    """Return whether the server is unavailable, or the error is transient: a retry may succeed.

    Transient are a full disk, lack of memory, a deadlock, and a statement timeout.
    """
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated or is_read_only(error):
        return True
    is_operational = isinstance(error, OperationalError | InterfaceError)
    return is_operational and not sqlstate(error).startswith(_MISTAKES)


class DatabaseReadOnly(Exception):
    """The server answers and takes no writes: a standby, or one whose disk is full."""


class ClockDiffers(Exception):
    """This machine's clock differs from the database's: at 30 s tokens are refused."""


def readiness_checks(transaction: Transaction[SessionT]) -> dict[str, Check]:
    """Return what `/ready` of both apps checks: the database, and this machine's clock by it."""
    return {
        "database": Check(partial(_check_writable, transaction)),
        "clock": Check(partial(_check_clock, transaction), required=False),
    }


def _check_writable(transaction: Transaction[SessionT]) -> None:
    """Raise unless the database answers and takes writes."""
    with transaction() as session:
        if session.scalar(text("SHOW transaction_read_only")) == "on":
            session().invalidate()
            session.get_bind().engine.dispose()
            raise DatabaseReadOnly


# A token is refused where the clocks of the machines that sign and verify it differ by 30 s.
_MAX_CLOCK_DIFFERENCE_S = 15.0


def _check_clock(transaction: Transaction[SessionT]) -> None:
    """Raise ClockDiffers where this machine's clock, or the database's, is wrong."""
    with transaction() as session:
        if abs(clock_ahead_s(session)) > _MAX_CLOCK_DIFFERENCE_S:
            raise ClockDiffers


def clock_ahead_s(session: scoped_session[SessionT]) -> float:
    """Return by how many seconds this machine's clock is ahead of the database's at least.

    Negative where it is behind, 0 where the time of the answer explains the difference.
    """
    sent_at = time.time()
    at = float(session.scalar(text("SELECT extract(epoch FROM clock_timestamp())")))
    return max(sent_at - at, 0.0) + min(time.time() - at, 0.0)


def leave_read_only_servers(engine: Engine) -> None:
    """Have the engine reconnect after a write that the server refuses as it is read-only.

    What has connected in the middle of a failover, by an old address, may hold connections to the
    former primary, which is a standby now. They work, so nothing else would end them.
    """
    event.listen(engine, "handle_error", _disconnect_if_read_only)


def _disconnect_if_read_only(context: ExceptionContext) -> None:
    if getattr(context.original_exception, "pgcode", None) == _READ_ONLY:
        context.is_disconnect = True


class CheckoutLimit:
    """Bounds the time for which one piece of work may use a connection to PostgreSQL.

    `statement_timeout` does not help against a server that hangs, and TCP's timeouts do not either
    while its kernel answers. So a thread shuts down the socket of a connection that has been in use
    for too long; the thread that waits for it gets an OperationalError.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._in_use: dict[ConnectionPoolEntry, tuple[Any, float]] = {}
        self._watcher_pid = 0

    @property
    def pool_events(self) -> list[tuple[Callable[..., None], str]]:
        """What SQLAlchemy's pool needs as `pool_events`."""
        return [
            (self._record_checkout, "checkout"),
            (self._record_return, "checkin"),
            (self._record_return, "invalidate"),
        ]

    def _record_checkout(self, driver: Any, record: ConnectionPoolEntry, _: object) -> None:  # noqa: ANN401 # psycopg2's
        with self._lock:
            self._in_use[record] = (driver, time.monotonic() + self._limit_s)
            if self._watcher_pid != os.getpid():  # threads do not survive a fork
                threading.Thread(target=self._watch, name="checkout-limit", daemon=True).start()
                self._watcher_pid = os.getpid()

    def _record_return(self, _: object, record: ConnectionPoolEntry, *__: object) -> None:
        with self._lock:
            self._in_use.pop(record, None)

    def _watch(self) -> None:
        while True:
            time.sleep(1)
            now = time.monotonic()
            with self._lock:
                for record, (driver, deadline) in list(self._in_use.items()):
                    if now > deadline:
                        del self._in_use[record]
                        _shut_down(driver)


def _shut_down(driver: Any) -> None:  # noqa: ANN401 # psycopg2's
    try:
        duplicate = socket.socket(fileno=os.dup(driver.fileno()))
        with duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)
    except Exception as error:  # noqa: BLE001 # psycopg2's where it is closed; the thread must not end
        _log.warning("connection not shut down: %s", type(error).__name__)
