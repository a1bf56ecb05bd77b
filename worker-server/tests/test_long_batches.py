"""Batches of long videos, whose rows are too many for one transaction."""

import uuid
from collections.abc import Callable, Iterator

import pytest
from flask.testing import FlaskClient

from idrl_testing.database import Database
from worker_server.api import services
from worker_server.jobs import sweep
from worker_server.queue import cancellation, retention
from worker_server.settings import Settings
from worker_testing import URL

Auth = Callable[..., dict[str, str]]
_PARTS = """
    INSERT INTO parts (task_id, number, owner_id, start_frame, end_frame, start_s, end_s, status)
    SELECT id, n, owner_id, 0, 0, 0, 0, 'done' FROM tasks CROSS JOIN generate_series(0, {}) n
"""


@pytest.fixture
def deletions(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], list[int]]]:
    """Return how many tasks each transaction has deleted, once it is called, oldest first."""
    monkeypatch.setattr(cancellation, "PIECE_PARTS", 10)
    database.execute("CREATE TABLE deletions (xid xid8, task_id uuid)")
    database.execute("GRANT INSERT ON deletions TO worker")
    database.execute(
        "CREATE FUNCTION record_deletion() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO deletions VALUES (pg_current_xact_id(), OLD.id); RETURN NULL; END $$"
    )
    database.execute(
        "CREATE TRIGGER record_deletion AFTER DELETE ON tasks"
        " FOR EACH ROW EXECUTE FUNCTION record_deletion()"
    )
    counts = "SELECT count(*) FROM deletions GROUP BY xid ORDER BY xid"
    yield lambda: [int(str(count)) for (count,) in database.execute(counts)]
    database.execute("DROP FUNCTION record_deletion CASCADE")
    database.execute("DROP TABLE deletions")


def done_batch(client: FlaskClient, headers: dict[str, str], database: Database, parts: int) -> str:
    """Return the link of a batch of five tasks that are done."""
    body = {"items": [{"url": URL}] * 5}
    link: str = client.post("/batches", json=body, headers=headers).get_json()["link"]
    database.execute(_PARTS.format(parts - 1))
    database.execute("UPDATE tasks SET status = 'done', finished_at = now() - interval '99 days'")
    return link


def test_batch_is_deleted_in_several_transactions(
    client: FlaskClient, auth: Auth, database: Database, deletions: Callable[[], list[int]]
) -> None:
    link = done_batch(client, auth(), database, parts=5)
    answer = client.delete(link, headers=auth())
    assert (answer.status_code, answer.get_json()["status"]) == (200, "deleted")
    assert deletions() == [2, 2, 1]
    assert client.get(link, headers=auth()).status_code == 404


def test_task_of_more_parts_than_a_transaction_should_delete(
    client: FlaskClient, auth: Auth, database: Database, deletions: Callable[[], list[int]]
) -> None:
    link = done_batch(client, auth(), database, parts=30)
    assert client.delete(link, headers=auth()).get_json()["status"] == "deleted"
    assert deletions() == [1, 1, 1, 1, 1]


def test_deletion_that_takes_too_long_is_continued_by_the_next_call(
    client: FlaskClient,
    auth: Auth,
    database: Database,
    deletions: Callable[[], list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = done_batch(client, auth(), database, parts=5)
    monkeypatch.setattr(services, "_DELETION_S", 0.0)
    answers = [client.delete(link, headers=auth()) for _ in range(3)]
    statuses = [(each.status_code, each.get_json()["status"]) for each in answers]
    assert statuses == [(202, "canceling"), (202, "canceling"), (200, "deleted")]
    assert deletions() == [2, 2, 1]


def test_condition_is_checked_once(
    client: FlaskClient, auth: Auth, database: Database, deletions: Callable[[], list[int]]
) -> None:
    """The batch's tag changes with the first tasks that the call itself deletes."""
    link = done_batch(client, auth(), database, parts=5)
    tag = client.get(link, headers=auth()).headers["ETag"]
    answer = client.delete(link, headers={**auth(), "If-Match": tag})
    assert answer.get_json()["status"] == "deleted"
    assert deletions() == [2, 2, 1]


def test_unclaimed_tasks_stay_to_be_seen_canceled(
    client: FlaskClient, auth: Auth, database: Database, deletions: Callable[[], list[int]]
) -> None:
    link = done_batch(client, auth(), database, parts=5)
    queued = uuid.UUID(str(database.execute("SELECT max(id::text) FROM tasks")[0][0]))
    database.execute(f"UPDATE tasks SET status = 'queued' WHERE id = '{queued}'")
    database.execute(f"DELETE FROM parts WHERE task_id = '{queued}'")
    assert client.delete(link, headers=auth()).get_json()["status"] == "canceled"
    assert deletions() == [2, 2]
    assert database.execute("SELECT id::text, status FROM tasks") == [(str(queued), "canceled")]


def test_expired_tasks_are_deleted_in_several_transactions(
    client: FlaskClient,
    auth: Auth,
    database: Database,
    deletions: Callable[[], list[int]],
    settings: Settings,
) -> None:
    """One transaction for 50 tasks of thousands of parts exceeded the statement timeout."""
    done_batch(client, auth(), database, parts=5)
    retention.apply_setting(30)
    database.execute("UPDATE retention SET since = since - interval '365 days'")
    sweep.delete_expired_tasks(settings.model_copy(update={"retention_days": 30}))
    assert deletions() == [2, 2, 1]
