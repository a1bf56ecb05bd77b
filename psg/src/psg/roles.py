"""Two database roles: `web` sees users and wrong log-ins, `worker` tasks and parts. Grants are in the migrations."""

from psycopg2 import sql
from sqlalchemy import Connection, text

ROLES = ("web", "worker")


def ensure_role(connection: Connection, name: str, password: str | None) -> None:
    """Create the role if it is missing; with a password let it log in with that one. Safe to run twice."""
    if not connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": name}):
        _execute(connection, sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
    if password is not None:
        statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
        _execute(connection, statement.format(sql.Identifier(name), sql.Literal(password)))


def _execute(connection: Connection, statement: sql.Composable) -> None:
    """Run a statement of a kind that takes no parameters, composed with psycopg2's own quoting."""
    driver_connection = connection.connection.driver_connection
    connection.exec_driver_sql(statement.as_string(driver_connection))  # type: ignore[arg-type] # a psycopg2 connection
