"""The connection to PostgreSQL."""

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from idrl_common.database import (
    LIVENESS_EVENTS,
    SESSION_OPTIONS,
    CheckoutLimit,
    leave_read_only_servers,
    transactions,
)
from web_server.models import Base

db = SQLAlchemy(model_class=Base, session_options=SESSION_OPTIONS)
transaction = transactions(db.session)
# No request waits longer than 15 s: for a place in the pool, to connect (5 s), and for the answer.
CHECKOUT_S = 6
_limit = CheckoutLimit(CHECKOUT_S)
ENGINE_OPTIONS = {
    "pool_events": [*LIVENESS_EVENTS, *_limit.pool_events],
    "pool_size": 5,
    "max_overflow": 15,
    "pool_timeout": 3,
    "pool_recycle": 1800,
    # The text of an error goes to the log, where addresses and hashes do not belong.
    "hide_parameters": True,
}


def install(app: Flask) -> None:
    """Register the database with the configured app."""
    db.init_app(app)
    with app.app_context():
        leave_read_only_servers(db.engine)
