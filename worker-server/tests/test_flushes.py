"""Which commits wait for PostgreSQL's disk: all but those of what is written again in seconds."""

from collections.abc import Callable, Iterator

import pytest

from idrl_testing.database import Database
from worker_server.db import db
from worker_server.queue import leases, workers
from worker_testing import claim_part, processing

pytestmark = pytest.mark.usefixtures("app")
_TABLES = ("workers", "sweeps", "parts")
_RECORD = (
    "CREATE FUNCTION record_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " INSERT INTO commits VALUES (TG_TABLE_NAME, current_setting('synchronous_commit'));"
    " RETURN NULL; END $$"
)


@pytest.fixture
def waits(database: Database) -> Iterator[Callable[[], set[tuple[str, str]]]]:
    """Return (table, `synchronous_commit`) of the writes since the last call."""
    database.execute("ALTER ROLE worker SET synchronous_commit = on")
    db.engine.dispose()
    database.execute("CREATE TABLE commits (of_table text, setting text)")
    database.execute("GRANT INSERT ON commits TO worker")
    database.execute(_RECORD)
    for table in _TABLES:
        database.execute(
            f"CREATE TRIGGER record_commit AFTER INSERT OR UPDATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION record_commit()"
        )
    yield lambda: {
        (str(table), str(setting))
        for table, setting in database.execute("DELETE FROM commits RETURNING *")
    }
    database.execute("DROP FUNCTION record_commit CASCADE")
    database.execute("DROP TABLE commits")
    database.execute("ALTER ROLE worker RESET synchronous_commit")
    db.engine.dispose()


def test_only_what_is_written_again_soon_does_not_wait(
    waits: Callable[[], set[tuple[str, str]]],
) -> None:
    processing(1)
    lease = claim_part()
    assert waits() == {("parts", "on")}
    workers.record_heartbeat("worker:1", ["render"])
    workers.record_step("leases", "sweeper:1", None)
    assert leases.renew(lease, 30, 10) == "processing"
    assert waits() == {(table, "off") for table in _TABLES}
    workers.record_fault("worker:1", "internal_error")
    leases.release(lease)
    assert waits() == {("workers", "on"), ("parts", "on")}
