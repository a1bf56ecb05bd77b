"""Two database roles: `web` for accounts, `worker` for tasks and parts.

Grants are in the migrations.
"""

import logging

from psycopg2 import extensions, sql
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

ROLES = ("web", "worker")
_log = logging.getLogger(__name__)


def ensure_role(connection: Connection, name: str, password: str | None) -> None:
    """Create the role if it is missing; with a password, let it log in.

    Safe to run twice.
    """
    if not connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": name}):
        _execute(connection, sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
    if password is not None:
        # The verifier, not the password: PostgreSQL may log statements like this one.
        verifier = extensions.encrypt_password(
            password,
            name,
            connection.connection.driver_connection,
            "scram-sha-256",
        )
        statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
        _execute(connection, statement.format(sql.Identifier(name), sql.Literal(verifier)))
    _disable_statement_logging(connection, name)


def _disable_statement_logging(connection: Connection, name: str) -> None:
    """Log errors of the role without their statements, which hold emails, password hashes and URLs.

    Only a superuser may set this. A managed server has a flag of the same name instead.
    """
    statement = sql.SQL("ALTER ROLE {} SET log_min_error_statement = panic")
    try:
        with connection.begin_nested():
            _execute(connection, statement.format(sql.Identifier(name)))
    except ProgrammingError:
        _log.warning(
            "role %s: no right to set log_min_error_statement; set the server's flag to panic", name
        )


def _execute(connection: Connection, statement: sql.Composable) -> None:
    """Run a statement of a kind that takes no parameters, composed with psycopg2's own quoting."""
    driver_connection = connection.connection.driver_connection
    connection.exec_driver_sql(statement.as_string(driver_connection))  # type: ignore[arg-type] # a psycopg2 connection
