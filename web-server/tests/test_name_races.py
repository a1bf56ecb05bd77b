"""Two accounts that want one email at once: one gets it, and PostgreSQL logs no error."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from flask import Flask

from idrl_testing.database import Database
from web_server import accounts
from web_server.services import EmailTaken

ROUNDS = 12
ACCOUNTS = 6


@pytest.fixture
def logged(database: Database) -> Callable[[], str]:
    """Return what PostgreSQL has logged in this test; its log lies beside the data."""
    ((folder,),) = database.execute("SHOW data_directory")
    log = Path(str(folder)).with_name("postgres.log")
    before = len(log.read_text())
    return lambda: log.read_text()[before:]


def add_accounts(database: Database) -> None:
    database.execute(
        "INSERT INTO users (username, email, password_hash)"
        f" SELECT 'u' || n, 'u' || n || '@example.com', '' FROM generate_series(1, {ACCOUNTS}) n"
    )


def change_email(app: Flask, user_id: int, email: str) -> bool:
    """Return whether the account got the email."""
    with app.app_context():
        user = accounts.get_user(user_id)
        try:
            accounts.change_profile(user, user.username, email)
        except EmailTaken:
            return False
        return True


def test_parallel_changes_to_one_email_leave_nothing_in_the_log(
    app: Flask, database: Database, logged: Callable[[], str]
) -> None:
    add_accounts(database)
    together = Barrier(ACCOUNTS)

    def change(user_id: int) -> list[bool]:
        got = []
        for number in range(ROUNDS):
            together.wait(30)
            got.append(change_email(app, user_id, f"race-{number}@example.com"))
        return got

    with ThreadPoolExecutor(ACCOUNTS) as pool:
        got = list(pool.map(change, range(1, ACCOUNTS + 1)))
    assert [sum(each) for each in zip(*got, strict=True)] == [1] * ROUNDS
    assert "race-" not in logged()
    assert "duplicate key" not in logged()


def test_change_waits_for_a_concurrent_sign_up(
    app: Flask, database: Database, logged: Callable[[], str]
) -> None:
    add_accounts(database)
    sign_up = database.connect("web")
    with sign_up.cursor() as cursor, ThreadPoolExecutor(1) as pool:
        # As `create_user` does it, not yet committed.
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", (0x1D43,))
        cursor.execute(
            "INSERT INTO users (username, email, password_hash)"
            " VALUES ('new', 'both@example.com', '') ON CONFLICT DO NOTHING"
        )
        change = pool.submit(change_email, app, 1, "both@example.com")
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while not database.execute(waiting):
            assert not change.done()
        sign_up.commit()
        assert change.result(30) is False
    sign_up.close()
    assert "both@" not in logged()
    assert "duplicate key" not in logged()
