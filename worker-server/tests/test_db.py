"""Connections of the pool: checked out, cut off, and checked in."""

import time
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from idrl_testing.database import Database
from worker_server.app import create_app
from worker_server.db import (
    PreparedQuery,
    db,
    fetch_json,
    service_engine_options,
    transaction,
)
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
        # The next one gets a connection that works.
        with transaction() as session:
            assert session.scalar(text("SELECT 1")) == 1
        db.session.remove()
        db.engine.dispose()
