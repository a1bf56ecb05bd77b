"""POST of a batch that another call deletes before it is answered."""

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from idrl_testing.database import Database
from worker_server.api import batch_queries, services

Auth = Callable[..., dict[str, str]]
BODY = {"items": [{"url": "http://example.com/v.mp4"}]}


@pytest.fixture
def delete_meanwhile(database: Database, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on: delete, once, all that other calls can see, just before a batch is read."""
    read = batch_queries.get_batch
    statements: list[str] = []

    def read_late(*arguments: object) -> object:
        while statements:
            database.execute(statements.pop(0))
        return read(*arguments)  # type: ignore[arg-type] # as they came

    monkeypatch.setattr(batch_queries, "get_batch", read_late)
    return lambda: statements.extend(["DELETE FROM tasks", "DELETE FROM batches"])


def test_new_batch_is_answered_as_it_was_stored(
    client: FlaskClient, auth: Auth, delete_meanwhile: Callable[[], None]
) -> None:
    delete_meanwhile()
    answer = client.post("/batches", json=BODY, headers=auth())
    assert (answer.status_code, answer.get_json()["total"]) == (202, 1)


def test_batch_of_the_same_key_is_made_again(
    client: FlaskClient,
    auth: Auth,
    delete_meanwhile: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second of two requests that began at once finds the first one's batch, then no more."""
    headers = {**auth(), "Idempotency-Key": "once"}
    first = client.post("/batches", json=BODY, headers=headers).get_json()
    monkeypatch.setattr(services, "repeated_batch", lambda _: None)
    delete_meanwhile()
    answer = client.post("/batches", json=BODY, headers=headers)
    assert answer.status_code == 202
    assert answer.get_json()["batch_id"] != first["batch_id"]
    assert client.get(answer.get_json()["link"], headers=auth()).status_code == 200
