"""Whether a test finds the database as the first one found it, whatever was done before."""

from collections.abc import Callable

import psycopg2
import pytest

from idrl_testing.database import Database

_ADD_TASK = "INSERT INTO tasks (id, owner_id, url) VALUES (gen_random_uuid(), 1, 'http://a/v')"
_INCREMENT = (
    "INSERT INTO metric_increments (metric, labels, bucket, amount) VALUES ('m', '{}', 0, %s)"
)


def _state(database: Database) -> list[tuple[object, ...]]:
    """Return each table's pages, those of its indexes, and what the planner knows of it."""
    return database.execute(
        "SELECT relname, pg_relation_size(oid), pg_indexes_size(oid), reltuples FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        " AND relname <> 'alembic_version' ORDER BY relname"
    )


def _called_sequences(database: Database) -> list[tuple[object, ...]]:
    return database.execute(
        "SELECT sequencename FROM pg_sequences WHERE last_value IS NOT NULL ORDER BY sequencename"
    )


def _rolled_back(database: Database) -> None:
    with database.holding(_ADD_TASK):
        pass


def _given_up(database: Database) -> None:
    """The identity is taken before the row is refused, and nothing is written."""
    with pytest.raises(psycopg2.errors.NotNullViolation):
        database.execute(_INCREMENT % "NULL")


@pytest.mark.parametrize(
    "act",
    [
        lambda database: database.execute(_ADD_TASK),
        lambda database: database.execute(_INCREMENT % 1),
        lambda database: database.execute("ANALYZE"),
        _rolled_back,
        _given_up,
    ],
    ids=["row", "identity", "statistics", "rolled back", "refused"],
)
def test_database_is_as_it_was_after(act: Callable[[Database], object], database: Database) -> None:
    clean = _state(database)
    act(database)
    assert _state(database) != clean or _called_sequences(database)
    database.truncate()
    assert _state(database) == clean
    assert {pages for _, pages, _, _ in clean} == {0}
    assert _called_sequences(database) == []
