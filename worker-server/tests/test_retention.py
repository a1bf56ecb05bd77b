"""Finished tasks are deleted after RETENTION_DAYS, with notice, unless their owners keep them."""

import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from idrl_testing.database import Database
from worker_server.db import db, transaction
from worker_server.jobs import sweep
from worker_server.jobs.removals import remove_due
from worker_server.queue import retention
from worker_server.queue.requeueing import retry_task
from worker_server.settings import Settings
from worker_testing import files, post, problem, processing, submit

pytestmark = pytest.mark.usefixtures("app")
Auth = Callable[..., dict[str, str]]


@pytest.fixture
def monthly(settings: Settings) -> Settings:
    return settings.model_copy(update={"retention_days": 30})


def end(task_id: object, days_ago: float, status: str = "done") -> None:
    """Make the task one that ended this many days ago."""
    values = {"id": str(task_id), "status": status, "days_ago": days_ago}
    ended = "status = :status, finished_at = now() - :days_ago * interval '1 day'"
    with transaction() as session:
        session.execute(text(f"UPDATE tasks SET {ended} WHERE id = :id"), values)


def end_notice_period(settings: Settings) -> None:
    """Make the setting one that has applied for a year."""
    retention.apply_setting(settings.retention_days)
    with transaction() as session:
        session.execute(text("UPDATE retention SET since = since - interval '365 days'"))


def left() -> set[uuid.UUID]:
    return set(db.session.scalars(text("SELECT id FROM tasks")))


def test_expired_tasks_are_deleted_with_their_files(
    finished: tuple[str, bytes], monthly: Settings
) -> None:
    task_id = uuid.UUID(finished[0])
    end_notice_period(monthly)
    end(task_id, 29.9)
    sweep.delete_expired_tasks(monthly)
    assert left() == {task_id}
    end(task_id, 30.1)
    sweep.delete_expired_tasks(monthly)
    assert left() == set()
    assert files(monthly, task_id)
    remove_due(monthly)
    assert not files(monthly, task_id)


def test_no_transaction_deletes_more_expired_tasks_than_it_has_time_for(
    monthly: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A statement has 10 s, and tasks of long videos have thousands of rows each."""
    end_notice_period(monthly)
    for _ in range(120):
        submit()
    with transaction() as session:
        ended = "status = 'done', finished_at = now() - interval '90 days'"
        session.execute(text(f"UPDATE tasks SET {ended}"))
    with caplog.at_level(logging.INFO):
        sweep.delete_expired_tasks(monthly)
    counts = [vars(record)["count"] for record in caplog.records if "expired" in record.message]
    assert counts == [50, 50, 20]
    assert left() == set()


def test_only_finished_tasks_that_are_not_kept_expire(
    client: FlaskClient, auth: Auth, monthly: Settings
) -> None:
    end_notice_period(monthly)
    live = processing()
    end(live, 90, "processing")  # as a row that an older release has left
    ended = {status: submit() for status in ("done", "failed", "canceled")}
    kept = submit()
    assert client.patch(f"/tasks/{kept}", json={"keep": True}, headers=auth()).status_code == 200
    for status, task_id in [*ended.items(), ("done", kept)]:
        end(task_id, 90, status)
    sweep.delete_expired_tasks(monthly)
    assert left() == {live, kept}


def test_tasks_are_kept_for_ever_by_default(settings: Settings) -> None:
    task_id = submit()
    end(task_id, 9999)
    end_notice_period(settings)
    sweep.delete_expired_tasks(settings)
    assert left() == {task_id}


@pytest.mark.parametrize("before", [0, 365])
def test_new_setting_removes_nothing_for_a_week(
    client: FlaskClient, auth: Auth, settings: Settings, monthly: Settings, before: int
) -> None:
    task_id = submit()
    end(task_id, 90)
    end_notice_period(settings.model_copy(update={"retention_days": before}))
    sweep.delete_expired_tasks(monthly)
    assert left() == {task_id}
    (listed,) = client.get("/tasks", headers=auth()).get_json()
    expires_at = datetime.fromisoformat(listed["expires_at"])
    assert abs(expires_at - datetime.now(UTC) - timedelta(days=7)) < timedelta(minutes=1)
    assert listed["expires_soon"]
    with transaction() as session:
        session.execute(text("UPDATE retention SET since = since - interval '7 days'"))
    sweep.delete_expired_tasks(monthly)
    assert left() == set()


def test_a_restart_does_not_start_the_notice_again(database: Database, monthly: Settings) -> None:
    end_notice_period(monthly)
    before = database.execute("SELECT since FROM retention")
    sweep.delete_expired_tasks(monthly)
    assert database.execute("SELECT since FROM retention") == before


@pytest.mark.parametrize(("days_ago", "soon"), [(1, False), (22.9, False), (23.1, True)])
def test_list_shows_the_expiry_a_week_before(
    client: FlaskClient, auth: Auth, monthly: Settings, days_ago: float, soon: bool
) -> None:
    task_id = submit()
    fresh = client.get(f"/tasks/{task_id}", headers=auth()).get_json()
    assert (fresh["keep"], fresh["expires_at"], fresh["expires_soon"]) == (False, None, False)
    end_notice_period(monthly)
    end(task_id, days_ago)
    (listed,) = client.get("/tasks", headers=auth()).get_json()
    shown = client.get(f"/tasks/{task_id}", headers=auth()).get_json()
    expected = datetime.now(UTC) + timedelta(days=30 - days_ago)
    assert abs(datetime.fromisoformat(listed["expires_at"]) - expected) < timedelta(minutes=1)
    assert listed["expires_soon"] is soon
    assert {name: shown[name] for name in listed} == listed


def test_kept_task_is_marked_and_has_no_expiry(
    client: FlaskClient, auth: Auth, monthly: Settings
) -> None:
    task_id = submit()
    end_notice_period(monthly)
    end(task_id, 1)
    path = f"/tasks/{task_id}"
    for keep in (True, False):
        changed = client.patch(path, json={"keep": keep}, headers=auth()).get_json()
        assert changed == client.get(path, headers=auth()).get_json()
        assert changed["keep"] is keep
        assert (changed["expires_at"] is None) is keep
    assert client.patch(path, json={}, headers=auth()).status_code == 200


def test_task_that_is_kept_no_more_has_its_notice(
    client: FlaskClient, auth: Auth, monthly: Settings
) -> None:
    end_notice_period(monthly)
    task_id = submit()
    end(task_id, 90)

    def keep(value: bool) -> datetime | None:
        changed = client.patch(f"/tasks/{task_id}", json={"keep": value}, headers=auth())
        at = changed.get_json()["expires_at"]
        return at and datetime.fromisoformat(at)

    assert keep(True) is None
    expires_at = keep(False)
    assert expires_at is not None
    assert abs(expires_at - datetime.now(UTC) - timedelta(days=7)) < timedelta(minutes=1)
    sweep.delete_expired_tasks(monthly)
    assert left() == {task_id}
    with transaction() as session:
        session.execute(text("UPDATE tasks SET unkept_at = unkept_at - interval '7 days'"))
    assert keep(False) == expires_at - timedelta(days=7)  # the notice period does not restart
    sweep.delete_expired_tasks(monthly)
    assert left() == set()


def test_wrong_changes_are_refused(client: FlaskClient, auth: Auth) -> None:
    path = f"/tasks/{post(client, auth()).get_json()['task_id']}"
    for body in ({"keep": "yes"}, {"keep": None}, {"keep": 1}, {"status": "done"}):
        assert problem(client.patch(path, json=body, headers=auth())) == (400, "invalid_body")
    others = client.patch(path, json={"keep": True}, headers=auth(2))
    assert problem(others) == (404, "task_not_found")
    assert problem(client.patch("/tasks/x", json={}, headers=auth())) == (404, "task_not_found")
    assert client.get(path, headers=auth()).get_json()["keep"] is False


def test_retry_concurrent_with_the_sweeper_keeps_the_task(
    database: Database, monthly: Settings
) -> None:
    """The sweeper leaves a locked row alone, and finds it live afterwards."""
    task_id = submit()
    end_notice_period(monthly)
    end(task_id, 90, "failed")
    assert retry_task(1, task_id)
    sweep.delete_expired_tasks(monthly)
    assert database.execute("SELECT status, finished_at FROM tasks") == [("queued", None)]


def test_sweep_reads_only_expired_tasks(database: Database, monthly: Settings) -> None:
    """Neither kept nor younger tasks cost anything: an index has just the others, by age."""
    database.execute(
        "INSERT INTO tasks (id, owner_id, url, status, finished_at, keep)"
        " SELECT gen_random_uuid(), 1, '', 'done', now() - (n % 29 + 60 * (n / 19990)) * interval"
        " '1 day', n % 2 = 0 FROM generate_series(1, 20000) n"
    )
    database.execute("ANALYZE tasks")
    end_notice_period(monthly)
    assert len(retention.delete_expired(1000)) == 5
    plan = database.execute(
        "EXPLAIN (ANALYZE, FORMAT TEXT, COSTS OFF, TIMING OFF) SELECT id FROM tasks"
        " WHERE finished_at <= now() - interval '30 days' AND NOT keep"
        " AND status NOT IN ('queued', 'downloading', 'processing', 'canceling')"
        " ORDER BY finished_at LIMIT 1000"
    )
    lines = "\n".join(str(line) for (line,) in plan)
    assert "tasks_finished" in lines
    assert "Seq Scan" not in lines
