"""A migrated database on loopback, as tests see it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import extensions

from psg.settings import Settings as SchemaSettings

PASSWORD = "only-on-loopback"  # noqa: S105 # of servers that live as long as the test run
# TRUNCATE gives a table and each of its indexes a new file, so only tables get it that were written
# since the last one, rolled back or not: they have a page then, or the statistics that VACUUM and
# ANALYZE leave. The locks are those of TRUNCATE: a transaction that a test left open shows.
_EMPTY = """
DO $$
DECLARE names text;
BEGIN
    SELECT string_agg(quote_ident(tablename), ', ') INTO STRICT names FROM pg_tables
        WHERE schemaname = 'public' AND tablename <> 'alembic_version';
    EXECUTE 'LOCK TABLE ' || names || ' IN ACCESS EXCLUSIVE MODE';
    SELECT string_agg(quote_ident(relname), ', ') INTO names FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
            AND relname <> 'alembic_version' AND (pg_relation_size(oid) > 0 OR reltuples >= 0);
    IF names IS NOT NULL THEN
        EXECUTE 'TRUNCATE ' || names || ' CASCADE';
    END IF;
    PERFORM setval(seqrelid, seqstart, false) FROM pg_sequence
        WHERE pg_sequence_last_value(seqrelid) IS NOT NULL;
END $$"""


@dataclass(frozen=True)
class Database:
    """A migrated database; the roles `web` and `worker` have the superuser's password."""

    port: int
    name: str = "idrl"
    superuser: str = "postgres"
    password: str = PASSWORD
    host: str = "127.0.0.1"

    def settings(self) -> SchemaSettings:
        return SchemaSettings(
            postgres_host=self.host,
            postgres_port=self.port,
            postgres_db=self.name,
            postgres_user=self.superuser,
            postgres_password=self.password,
            web_db_password=self.password,
            worker_db_password=self.password,
        )

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement as the superuser and return its rows, if it has any."""
        with self._transaction() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def holding(self, statement: str) -> Iterator[None]:
        """Keep the locks that the statement takes while the block lasts; it changes nothing."""
        with self._transaction() as cursor:
            cursor.execute(statement)
            yield
            cursor.connection.rollback()

    def waiting(self) -> int:
        """Return how many transactions wait for a lock of another one."""
        return len(self.execute("SELECT pid FROM pg_locks WHERE NOT granted"))

    def connect(self, role: str) -> extensions.connection:
        """Return a new connection of this role, which the caller closes."""
        return psycopg2.connect(
            host=self.host,
            port=self.port,
            dbname=self.name,
            user=role,
            password=self.password,
        )

    @contextmanager
    def _transaction(self) -> Iterator[extensions.cursor]:
        connection = self.connect(self.superuser)
        try:
            with connection, connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    def explain_prepared(self, types: str, statement: str, arguments: str) -> dict[str, Any]:
        """Execute the statement with its generic plan, as a kept connection does; return the plan.

        `arguments` is SQL, the values of $1, $2 and so on.
        """
        ((explained,),) = self.execute(
            f"SET plan_cache_mode = force_generic_plan; PREPARE explained ({types}) AS {statement};"
            f" EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE explained ({arguments})"
        )
        plan: dict[str, Any] = explained[0]["Plan"]  # type: ignore[index] # JSON has no types
        return plan

    def truncate(self) -> None:
        """Remove every row, those of tables that a later migration adds too."""
        self.execute(_EMPTY)


def create_database(port: int, name: str) -> None:
    """Create an empty database on the test run's PostgreSQL."""
    connection = psycopg2.connect(
        host="127.0.0.1", port=port, dbname="postgres", user="postgres", password=PASSWORD
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}"')
    connection.close()
