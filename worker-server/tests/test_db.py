"""Connections of the pool: checked out, cut off, and checked in."""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from idrl_testing.database import Database
from idrl_testing.waiting import wait_until
from worker_server.app import create_app
from worker_server.db import (
    PreparedQuery,
    db,
    fetch_json,
    retry_outages,
    service_engine_options,
    transaction,
)
from worker_server.models import QueuePause
from worker_server.settings import Settings
from worker_testing import post

Auth = Callable[..., dict[str, str]]


@pytest.mark.usefixtures("app")
def test_driver_errors_become_sqlalchemy_errors() -> None:
    with pytest.raises(ProgrammingError):
        fetch_json(PreparedQuery("nothing", "int", "SELECT nothing"))
    with pytest.raises(OperationalError) as caught:
        fetch_json(
            PreparedQuery(
                "suicide", "bool", "SELECT pg_terminate_backend(pg_backend_pid())::text WHERE $1"
            ),
            True,
        )
    assert caught.value.connection_invalidated
    assert fetch_json(PreparedQuery("one", "int", "SELECT $1::text"), 1) == 1


@pytest.mark.usefixtures("app")
def test_connection_leaves_autocommit_before_a_transaction() -> None:
    assert fetch_json(PreparedQuery("one", "int", "SELECT $1::text"), 1) == 1
    with db.engine.connect() as connection:
        transactions = {connection.scalar(text("SELECT txid_current()")) for _ in range(2)}
    assert len(transactions) == 1
    assert db.engine.pool.checkedin() == 1  # type: ignore[attr-defined] # a QueuePool's


@pytest.mark.usefixtures("app")
def test_transaction_within_another_one_ends_with_it() -> None:
    paused = text("INSERT INTO queue_pauses (kind) VALUES (:kind)")
    known = text("SELECT array_agg(kind::text ORDER BY kind) FROM queue_pauses")
    with suppress(ZeroDivisionError), transaction() as session:
        session.execute(paused, {"kind": "fetch"})
        with transaction() as inner:
            inner.execute(paused, {"kind": "render"})
        raise ZeroDivisionError
    with transaction() as session:
        assert session.scalar(known) is None
        session.execute(paused, {"kind": "fetch"})
        with transaction() as inner:
            inner.execute(paused, {"kind": "render"})
    with transaction() as session:
        assert session.scalar(known) == ["fetch", "render"]


@pytest.mark.usefixtures("app")
def test_row_stays_readable_after_its_transaction_and_the_next_reads_it_again() -> None:
    with transaction() as session:
        stored = QueuePause(kind="fetch")
        session.add(stored)
    default = stored.paused_at
    assert default is not None
    with transaction() as session:
        session.execute(text("UPDATE queue_pauses SET paused_at = paused_at - interval '1 h'"))
    with transaction() as session:
        read = session.get_one(QueuePause, "fetch")
    assert default - read.paused_at == timedelta(hours=1)
    assert stored.paused_at == default


@pytest.mark.usefixtures("app")
def test_uncommitted_changes_are_rolled_back_at_checkin() -> None:
    with db.engine.connect() as connection:
        connection.execute(text("CREATE TEMPORARY TABLE lost ()"))
    assert (
        fetch_json(
            PreparedQuery("lost", "text", "SELECT to_json(to_regclass($1) IS NULL)::text"), "lost"
        )
        is True
    )
    assert db.engine.pool.checkedin() == 1  # type: ignore[attr-defined] # a QueuePool's


def test_connection_that_the_server_has_closed_is_replaced(
    client: FlaskClient, auth: Auth, database: Database
) -> None:
    assert client.get("/tasks", headers=auth()).status_code == 200
    database.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'worker'"
    )
    assert client.get("/tasks", headers=auth()).status_code == 200
    assert post(client, auth()).status_code == 202


def test_service_waits_no_longer_than_its_limit_for_an_answer(settings: Settings) -> None:
    app = create_app(settings, service_engine_options(limit_s=1))
    with app.app_context():
        began = time.monotonic()
        with pytest.raises(OperationalError), transaction() as session:
            session.execute(text("SELECT pg_sleep(60)"))
        assert time.monotonic() - began < 30
        slow = PreparedQuery("slow", "int", "SELECT to_json(pg_sleep(60)::text)::text WHERE $1 > 0")
        with pytest.raises(DBAPIError):
            fetch_json(slow, 1)
        wait_until(_is_answered)  # a busy machine may need more than the limit for that too
        db.session.remove()
        db.engine.dispose()


def _is_answered() -> bool:
    """Return whether the next transaction gets a connection that works."""
    with suppress(OperationalError), transaction() as session:
        return bool(session.scalar(text("SELECT 1")))
    return False


def test_limit_outlives_a_connection_that_is_closed_while_in_use(settings: Settings) -> None:
    app = create_app(settings, service_engine_options(limit_s=0.5))
    with app.app_context():
        closed: Any = db.engine.raw_connection()
        closed.driver_connection.close()
        time.sleep(3)  # the limit has passed for this one
        began = time.monotonic()
        with pytest.raises(OperationalError), transaction() as session:
            session.execute(text("SELECT pg_sleep(20)"))
        assert time.monotonic() - began < 15
        closed.invalidate()
        db.session.remove()
        db.engine.dispose()


def _statement_raising(sqlstate: str) -> str:
    return f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{sqlstate}'; END $$"


def _attempts(*statements: str) -> int:
    """Execute the statements in one transaction that is retried once they have failed."""
    calls: list[int] = []

    @retry_outages
    def write() -> None:
        calls.append(len(calls))
        with transaction() as session:
            for statement in statements if len(calls) == 1 else ():
                session.execute(text(statement))

    with suppress(DBAPIError):
        write()
    return len(calls)


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize(
    "sqlstate",
    [
        *("08006", "40001", "40P01"),
        *("53100", "53200", "53300", "53400"),  # disk, memory, connections, a configured limit
        *("55P03", "57014", "57P01", "57P03", "58030"),
        "25006",  # read-only: a standby after a failover, or a provider whose disk is full
    ],
)
def test_write_is_repeated_where_the_server_cannot_do_it_now(sqlstate: str) -> None:
    assert _attempts(_statement_raising(sqlstate)) == 2


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize(
    "sqlstate", ["26000", "34000", "54000", "54023", "55000", "22012", "23505", "42P01", "XX000"]
)
def test_write_that_will_never_succeed_is_not_repeated(sqlstate: str) -> None:
    assert _attempts(_statement_raising(sqlstate)) == 1


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize(
    ("statements", "attempts"),
    [
        (["SET LOCAL statement_timeout = 50", "SELECT pg_sleep(2)"], 2),
        (["SELECT pg_advisory_xact_lock(n) FROM generate_series(1, 500000) AS n"], 2),
        (["SET LOCAL transaction_read_only = on", "UPDATE tasks SET progress = 1"], 2),
        (["SELECT pg_terminate_backend(pg_backend_pid())"], 2),
        (["SELECT " + ", ".join(map(str, range(1700)))], 1),  # more columns than a row may have
    ],
    ids=["too slow", "out of shared memory", "read-only", "connection cut", "too many columns"],
)
def test_write_that_the_server_itself_refuses(statements: list[str], attempts: int) -> None:
    assert _attempts(*statements) == attempts
