"""An account that is deleted during another call: locks in one order, and true answers."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import NoResultFound

from idrl_testing.database import Database
from idrl_testing.waiting import wait_until
from web_server import accounts
from web_server.login_throttle import account_of
from web_server.models import User
from web_testing import assert_problem

EMAIL = "ada@example.com"


def test_account_is_deleted_while_its_email_changes(app: Flask, database: Database) -> None:
    database.execute(
        f"INSERT INTO users (username, email, password_hash) VALUES ('a', '{EMAIL}', '')"
    )
    account = account_of(EMAIL)
    database.execute(f"INSERT INTO login_failures VALUES ('{account}', '*', 1)")

    def delete(user: User) -> None:
        with app.app_context():
            accounts.delete_user(user)

    def change(user: User) -> None:
        with app.app_context():
            accounts.change_profile(user, "a", "new@example.com")

    with app.app_context():
        user = accounts.get_user(1)
    with (
        ThreadPoolExecutor(2) as pool,
        database.holding(f"SELECT FROM login_failures WHERE account = '{account}' FOR UPDATE"),
    ):
        deletion = pool.submit(delete, user)
        wait_until(lambda: database.waiting() == 1, 20)
        changing = pool.submit(change, user)
        wait_until(lambda: database.waiting() == 2, 20)
    assert deletion.exception(30) is None
    assert isinstance(changing.exception(30), NoResultFound)
    assert database.execute("SELECT id FROM users") == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/me/keys", {"name": "script"}),
        ("PATCH", "/me", {"username": "eve"}),
        ("POST", "/auth/refresh", None),
        ("POST", "/auth/logout", None),
    ],
)
def test_call_during_the_deletion_of_its_account(
    client: FlaskClient,
    headers: dict[str, str],
    database: Database,
    method: str,
    path: str,
    body: dict[str, str] | None,
) -> None:
    """It was identified before; the account's row is gone when it wants to use it."""
    with closing(database.connect(database.superuser)) as deletion, ThreadPoolExecutor(1) as pool:
        deletion.cursor().execute("DELETE FROM users")
        answer = pool.submit(client.open, path, method=method, json=body, headers=headers)
        wait_until(lambda: answer.done() or database.waiting() == 1)
        assert not answer.done()
        deletion.commit()
        assert_problem(answer.result(), 401, "token_invalid")
