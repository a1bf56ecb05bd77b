"""GET /tasks/<id>/events gives each event once to a caller who polls with `after`.

Ids are taken by INSERT, but transactions may commit in another order.
"""

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import pytest
from flask.testing import FlaskClient
from psycopg2 import extensions
from sqlalchemy import text

from idrl_testing.database import Database
from idrl_testing.waiting import wait_until
from worker_server.db import db
from worker_server.queue import events
from worker_testing import processing, rows_of

Auth = Callable[..., dict[str, str]]
Poll = Callable[..., list[str]]


@pytest.fixture
def task_id(client: FlaskClient, database: Database) -> uuid.UUID:  # noqa: ARG001 # for its app
    """A task that has no events."""
    task_id = processing(1)
    database.execute("TRUNCATE task_events RESTART IDENTITY")
    return task_id


@pytest.fixture
def poll(client: FlaskClient, auth: Auth, task_id: uuid.UUID) -> Poll:
    """Return the codes of the events that a caller who polls has not been given yet."""
    last = [0]

    def events_since(limit: int = 200) -> list[str]:
        path = f"/tasks/{task_id}/events?max={limit}&after={last[0]}"
        answer: list[dict[str, Any]] = client.get(path, headers=auth()).get_json()
        last[0] = max([last[0], *(event["id"] for event in answer)])
        return [event["code"] for event in answer]

    return events_since


@contextmanager
def connected(database: Database) -> Iterator[extensions.connection]:
    with closing(database.connect("worker")) as connection:
        yield connection


def insert(connection: extensions.connection, task_id: uuid.UUID, *codes: str) -> None:
    """Insert events as any release does, without a commit."""
    with connection.cursor() as cursor:
        for code in codes:
            cursor.execute(
                "INSERT INTO task_events (task_id, kind, code) VALUES (%s, 'claimed', %s)",
                [str(task_id), code],
            )


def positions(database: Database) -> Sequence[tuple[object, ...]]:
    return database.execute("SELECT code, id, position FROM task_events ORDER BY id")


def test_an_event_that_is_committed_after_later_ones_is_given_too(
    database: Database, task_id: uuid.UUID, poll: Poll
) -> None:
    with connected(database) as slow, connected(database) as fast:
        insert(slow, task_id, "first")
        insert(fast, task_id, "second")
        fast.commit()
        assert poll() == ["second"]
        slow.commit()
        assert poll() == ["first"]
        insert(fast, task_id, "third")
        fast.commit()
    assert poll() == ["third"]
    assert poll() == []


def test_several_late_events_keep_their_order_and_their_ids(
    client: FlaskClient, auth: Auth, database: Database, task_id: uuid.UUID, poll: Poll
) -> None:
    with connected(database) as slow, connected(database) as slower, connected(database) as fast:
        insert(slower, task_id, "0")
        insert(slow, task_id, "1", "2", "3")
        insert(fast, task_id, "4")
        fast.commit()
        assert poll() == ["4"]
        slow.commit()
        insert(fast, task_id, "5")
        fast.commit()
        assert sorted(poll()) == ["1", "2", "3", "5"]
        slower.commit()
        assert poll() == ["0"]
    path = f"/tasks/{task_id}/events?after=0"
    whole, again = (client.get(path, headers=auth()).get_json() for _ in range(2))
    assert whole == again
    assert [event["code"] for event in whole] == ["4", "5", "1", "2", "3", "0"]
    ids = [event["id"] for event in whole]
    assert ids == sorted(set(ids))


def test_ids_are_those_of_the_rows_where_none_is_late(
    database: Database, task_id: uuid.UUID, poll: Poll
) -> None:
    """So cursors that an earlier release has given stay valid."""
    with connected(database) as connection:
        insert(connection, task_id, "1", "2")
        connection.commit()
        assert poll(1) == ["1"]
        assert poll(1) == ["2"]
        insert(connection, task_id, "3")
        connection.commit()
        assert poll() == ["3"]
    assert positions(database) == [("1", 1, 1), ("2", 2, 2), ("3", 3, 3)]


def test_pages_have_each_event_once(
    client: FlaskClient, auth: Auth, database: Database, task_id: uuid.UUID
) -> None:
    path = f"/tasks/{task_id}/events?after=0&max=1"
    with connected(database) as slow, connected(database) as fast:
        insert(slow, task_id, "1", "2")
        insert(fast, task_id, "3", "4")
        fast.commit()
        page = client.get(path, headers=auth())
        slow.commit()
    codes = [event["code"] for event in page.get_json()]
    while "next" in page.headers.get("Link", ""):
        target = page.headers["Link"].split(">")[0].lstrip("<")
        page = client.get(target, headers=auth())
        codes += [event["code"] for event in page.get_json()]
    assert codes == ["3", "4", "1", "2"]


def test_a_poll_without_new_events_writes_nothing(
    database: Database, task_id: uuid.UUID, poll: Poll
) -> None:
    with connected(database) as connection:
        insert(connection, task_id, "1")
        connection.commit()
    assert poll() == ["1"]
    before = database.execute("SELECT xmin, position FROM task_events")
    with database.holding("LOCK task_events IN EXCLUSIVE MODE"):
        assert poll() == []
    assert database.execute("SELECT xmin, position FROM task_events") == before


def test_two_callers_who_poll_at_the_same_time(
    client: FlaskClient, auth: Auth, database: Database, task_id: uuid.UUID
) -> None:
    """The second one waits for the ids that the first one assigns."""

    def poll_all(stop: threading.Event) -> list[int]:
        seen: list[int] = []
        while True:
            is_last = stop.is_set()
            path = f"/tasks/{task_id}/events?after={max(seen, default=0)}"
            seen += [event["id"] for event in client.get(path, headers=auth()).get_json()]
            if is_last:
                return seen

    stop = threading.Event()
    with ThreadPoolExecutor(2) as pool, connected(database) as slow, connected(database) as fast:
        pollers = [pool.submit(poll_all, stop) for _ in range(2)]
        for number in range(60):
            insert(slow, task_id, f"slow {number}")
            insert(fast, task_id, f"fast {number}")
            fast.commit()
            slow.commit()
        stop.set()
        given = [poller.result() for poller in pollers]
    assert [len(seen) for seen in given] == [120, 120]
    assert given[0] == given[1] == sorted(set(given[0]))


def test_a_caller_waits_for_another_one_who_is_being_given_new_events(
    database: Database, task_id: uuid.UUID, poll: Poll
) -> None:
    with connected(database) as connection:
        insert(connection, task_id, "1")
        connection.commit()
    lock = f"SELECT pg_advisory_xact_lock(hashtextextended('events of {task_id}', 0))"
    with ThreadPoolExecutor(1) as pool:
        with database.holding(lock):
            answer = pool.submit(poll)
            wait_until(lambda: database.waiting() == 1)
        assert answer.result() == ["1"]


@pytest.mark.parametrize("change", ["DELETE FROM task_events", "DELETE FROM tasks"])
def test_events_that_are_being_deleted_are_not_waited_for(
    database: Database, task_id: uuid.UUID, poll: Poll, change: str
) -> None:
    with connected(database) as connection:
        insert(connection, task_id, "1", "2")
        connection.commit()
    with database.holding(change):
        assert poll() == []
    assert poll() == ["1", "2"]


def test_the_events_that_callers_were_given_last_are_kept(
    database: Database, task_id: uuid.UUID, poll: Poll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_EVENTS", 2)
    with connected(database) as slow, connected(database) as fast:
        insert(slow, task_id, "1")
        insert(fast, task_id, "2", "3")
        fast.commit()
        assert poll() == ["2", "3"]
        slow.commit()
    assert poll() == ["1"]
    events.trim_events()
    assert [code for code, *_ in positions(database)] == ["1", "3"]


@pytest.mark.usefixtures("task_id")
def test_trimming_reads_no_events_of_tasks_that_have_ended(database: Database) -> None:
    """They are kept as long as their tasks: after months, millions."""
    database.execute(
        "INSERT INTO tasks (id, owner_id, url, status, finished_at)"
        " SELECT gen_random_uuid(), 1, '', 'done', now() FROM generate_series(1, 3000)"
    )
    database.execute("INSERT INTO task_events (task_id, kind) SELECT id, 'claimed' FROM tasks")
    database.execute("ANALYZE tasks, task_events")
    explain = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {events._TRIM_EVENTS.text}")
    ((plan,),) = db.session.scalars(explain, {"kept": 1})
    db.session.rollback()
    assert sum(rows_of(plan["Plan"])) < 20
