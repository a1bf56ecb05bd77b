"""A small app with everything that both apps share."""

import pytest
from flask import Flask

from idrl_common import health, logs, problems, request_ids


class NameTaken(Exception):
    """An exception as a service raises it."""


@pytest.fixture
def name_taken() -> type[Exception]:
    """An exception that the app's ProblemMap has."""
    return NameTaken


@pytest.fixture
def app() -> Flask:
    """An app without routes; tests add their own."""
    app = Flask("sample", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 1000
    request_ids.install(app)
    logs.install(app)
    health.install(app, "sample")
    problems.install(app, {NameTaken: (409, "name_taken")})
    return app
