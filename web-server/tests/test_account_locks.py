"""An account that is changed and deleted at once: both lock its rows in one order."""

from concurrent.futures import ThreadPoolExecutor

from flask import Flask
from sqlalchemy.exc import NoResultFound

from idrl_testing.database import Database
from idrl_testing.waiting import wait_until
from web_server import accounts
from web_server.login_throttle import account_of
from web_server.models import User

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
