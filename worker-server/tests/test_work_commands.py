"""What operators read when the database is unavailable or takes no writes."""

import pytest
from flask import Flask
from sqlalchemy import text

from worker_server.app import create_app
from worker_server.db import db
from worker_server.settings import Settings


@pytest.mark.parametrize("command", ["status", "pause", "resume", "drain"])
def test_operators_learn_that_the_database_is_unavailable(settings: Settings, command: str) -> None:
    app = create_app(settings.model_copy(update={"postgres_port": 1}))
    result = app.test_cli_runner().invoke(args=["work", command])
    assert (result.exit_code, result.output) == (1, "Error: The database does not answer.\n")


@pytest.mark.parametrize("command", ["pause", "resume", "drain"])
def test_operators_learn_that_the_database_takes_no_writes(app: Flask, command: str) -> None:
    db.session.execute(text("SET TRANSACTION READ ONLY"))
    result = app.test_cli_runner().invoke(args=["work", command])
    assert result.exit_code == 1
    assert result.output == "Error: The database takes no writes: a standby, or its disk is full.\n"
