"""Estimates of when queued tasks are done, compared with sums made by hand."""

import uuid
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from idrl_testing.database import Database
from idrl_testing.waiting import LIMIT_S
from worker_server.app import create_app
from worker_server.queue import estimates, pauses
from worker_server.queue.claims import Kind
from worker_server.settings import Settings
from worker_testing import processing, submit

Auth = Callable[..., dict[str, str]]


@pytest.fixture
def eta(settings: Settings, auth: Auth) -> Callable[..., object]:
    """Return a task's `eta_s`, of an app with empty caches; the list says the same."""

    def eta_of(task_id: uuid.UUID, owner_id: int = 1) -> object:
        client: FlaskClient = create_app(settings).test_client()
        document = client.get(f"/tasks/{task_id}", headers=auth(owner_id)).get_json()
        listed = client.get("/tasks?max=100", headers=auth(owner_id)).get_json()
        (same,) = (each for each in listed if each["task_id"] == str(task_id))
        assert same["eta_s"] == document["eta_s"]
        return document["eta_s"]

    return eta_of


def done_in(database: Database, *seconds: float) -> None:
    """Have tasks of another owner be done that took as long."""
    for task_s in seconds:
        task_id = submit(owner_id=9)
        database.execute(
            "UPDATE tasks SET status = 'done', progress = 100, finished_at = now(),"
            f" started_at = now() - make_interval(secs => {task_s}) WHERE id = '{task_id}'"
        )


@pytest.mark.usefixtures("app")
def test_estimate_depends_on_the_place_in_the_queue(
    database: Database, eta: Callable[..., object]
) -> None:
    done_in(database, 40, 80)  # a minute each
    processing(owner_id=3)
    processing(owner_id=4)
    own_tasks = [submit() for _ in range(3)]
    other_task = submit(owner_id=2)
    # Two at once. Turns: one of each owner, then the rest of this owner.
    assert [eta(task_id) for task_id in own_tasks] == [90, 120, 150]
    assert eta(other_task, 2) == 90


@pytest.mark.usefixtures("app")
def test_estimate_is_null_without_a_speed_or_while_work_stops(
    database: Database, eta: Callable[..., object]
) -> None:
    first, second = submit(), submit()
    assert eta(first) is None
    done_in(database, 60)
    assert (eta(first), eta(second)) == (60, 120)
    database.execute(f"UPDATE tasks SET run_after = now() + interval '1 h' WHERE id = '{first}'")
    assert (eta(first), eta(second)) == (None, 60)
    pauses.pause(Kind.FETCH)
    assert eta(second) is None
    pauses.resume(Kind.FETCH)
    assert eta(second) == 60


def test_queue_is_read_at_most_every_few_seconds(
    app: Flask, database: Database, auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimates, "_FRESH_S", LIMIT_S)
    done_in(database, 60)
    client, task_id = app.test_client(), submit()
    path = f"/tasks/{task_id}"
    assert client.get(path, headers=auth()).get_json()["eta_s"] == 60
    later = submit()
    assert client.get(f"/tasks/{later}", headers=auth()).get_json()["eta_s"] is None
