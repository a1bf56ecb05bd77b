"""Sign-up and log-in over HTTP."""

import pytest
from flask.testing import FlaskClient

from idrl_local.pytest_plugin import Database

GOOD = {"username": "ada", "email": "ada@example.com", "password": "Passw0rd-1", "password_2": "Passw0rd-1"}


def test_signup_creates_the_user(auth, database: Database) -> None:
    answer = auth.signup()
    assert answer.status_code == 201
    assert answer.json == {"user_id": 1, "username": "ada", "email": "ada@example.com"}
    [(username, email, password_hash)] = database.execute("SELECT username, email, password_hash FROM users")
    assert (username, email) == ("ada", "ada@example.com")
    assert str(password_hash).startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_login_gives_a_token(auth, client: FlaskClient) -> None:
    auth.signup()
    answer = auth.login()
    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["token_type"] == "Bearer"
    assert answer.json["expires_in"] == 3600
    assert answer.headers["Cache-Control"] == "no-store"
