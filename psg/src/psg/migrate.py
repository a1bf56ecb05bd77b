"""Bring a database to a revision of the schema, or make a new revision."""

import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from psg.roles import ROLES, ensure_role
from psg.settings import Settings

# Two `migrate` at once must not both create the tables; any number that nobody else locks will do.
_LOCK = 0x1D41


def engine_for(settings: Settings) -> Engine:
    """Return an engine on the database, which need not answer yet."""
    return create_engine(settings.database_url, hide_parameters=True)


def wait_until_up(engine: Engine, timeout_s: float = 60) -> None:
    """Return when the database takes connections; raise OperationalError when it has not after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            engine.connect().close()
        except OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def upgrade(engine: Engine, settings: Settings, revision: str = "head") -> None:
    """Create the roles and bring the schema up to `revision`. Safe to run twice, and by two at once."""
    passwords = dict(zip(ROLES, (settings.web_db_password, settings.worker_db_password), strict=True))
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        for name, password in passwords.items():
            ensure_role(connection, name, password)
        command.upgrade(_config(connection), revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Take the schema back to `revision` (`base` for an empty one); the roles stay."""
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        command.downgrade(_config(connection), revision)


def _config(connection: object) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
