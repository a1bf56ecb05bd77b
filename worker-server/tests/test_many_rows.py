"""Statements that read or delete only some of many rows, whatever else their tables hold."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pytest
from sqlalchemy import TextClause, func, select, text

from idrl_testing.database import Database
from worker_server.api import system_status
from worker_server.db import db
from worker_server.jobs import sweep
from worker_server.models import Webhook, WebhookDelivery
from worker_server.queue import (
    batches,
    statements,
    totals,
    unsent_events,
    uploads,
    usage,
    webhook_rows,
    webhooks,
)
from worker_server.settings import Settings
from worker_testing import rows_of, submit

pytestmark = pytest.mark.usefixtures("app")
_DELIVERIES = """
    INSERT INTO webhook_deliveries (webhook_id, event, task_id, status, run_after, event_at)
    SELECT '{}', 'task.done', gen_random_uuid(), '{}', now() - n * interval '1 s',
        now() - n * interval '1 day' FROM generate_series(1, {}) n
"""


def add_webhook(owner_id: int = 1) -> uuid.UUID:
    row = Webhook(owner_id=owner_id, url="http://127.0.0.1:1/", events=["task.done"], secret=b"s")
    db.session.add(row)
    db.session.commit()
    return row.id


def rows_read(statement: TextClause, values: Mapping[str, object]) -> int:
    explain = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.text}")
    ((plan,),) = db.session.scalars(explain, values)
    db.session.rollback()
    return sum(rows_of(plan["Plan"]))


def statuses() -> Sequence[str]:
    return db.session.scalars(select(WebhookDelivery.status)).all()


@contextmanager
def at_most_two(database: Database, table: str) -> Iterator[None]:
    """Refuse statements that delete more rows of the table at once."""
    database.execute(
        "CREATE FUNCTION refuse_many() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF (SELECT count(*) FROM gone) > 2 THEN RAISE 'too many'; END IF; RETURN NULL; END $$"
    )
    database.execute(
        f"CREATE TRIGGER refuse_many AFTER DELETE ON {table} REFERENCING OLD TABLE"
        " AS gone FOR EACH STATEMENT EXECUTE FUNCTION refuse_many()"
    )
    try:
        yield
    finally:
        database.execute("DROP FUNCTION refuse_many CASCADE")


def test_claim_passes_over_the_backlog_of_a_busy_receiver(database: Database) -> None:
    """Each sender read all of it, every second, while the receiver's request hung."""
    hanging, other = add_webhook(1), add_webhook(2)
    database.execute(_DELIVERIES.format(hanging, "waiting", 20_000))
    database.execute(_DELIVERIES.format(other, "waiting", 1))
    database.execute("ANALYZE webhooks, webhook_deliveries")
    first = webhooks.claim(30)
    assert first is not None
    assert first.webhook_id == hanging
    values = {"served": [1], "examined": 100, "limit": 32}
    assert rows_read(webhooks._DUE_RECEIVERS, values) < 1000
    second = webhooks.claim(30)
    assert second is not None
    assert second.webhook_id == other
    assert webhooks.claim(30) is None


def test_deletion_reads_no_events_of_other_receivers(database: Database) -> None:
    task_id = submit(owner_id=2)
    database.execute(_DELIVERIES.format(add_webhook(1), "waiting", 20_000))
    database.execute("ANALYZE webhooks, webhook_deliveries")
    values = {"task_ids": [str(task_id)], "batch_id": None}
    assert rows_read(unsent_events._UNSENT_EVENTS, values) < 100


def test_old_deliveries_are_deleted_some_at_a_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once exceeded the statement timeout at a million rows, in each round."""
    monkeypatch.setattr(webhook_rows, "_BATCH_SIZE", 2)
    webhook_id = add_webhook()
    database.execute(_DELIVERIES.format(webhook_id, "delivered", 35))
    database.execute(_DELIVERIES.format(webhook_id, "waiting", 35))
    with at_most_two(database, "webhook_deliveries"):
        webhook_rows.delete_old_deliveries()
    assert sorted(statuses()) == ["delivered"] * 29 + ["waiting"] * 35


def test_increments_are_folded_some_at_a_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million took 7 s; more, as after days without a sweeper, would never be folded."""
    monkeypatch.setattr(totals, "_BATCH_SIZE", 2)
    database.execute(
        "INSERT INTO metric_increments (metric, labels, bucket, amount)"
        " SELECT 'idrl_tasks_total', '{done,\"\"}', 0, 1 FROM generate_series(1, 5)"
    )
    with at_most_two(database, "metric_increments"):
        totals.fold()
    assert database.execute("SELECT count, amount FROM metric_totals") == [(5, 5.0)]
    assert database.execute("SELECT count(*) FROM metric_increments") == [(0,)]


def test_rows_of_every_page_are_deleted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "_PAGE_ROWS", 2)
    for age in ("25 hours", "23 hours"):
        database.execute(
            "INSERT INTO batches (id, owner_id, created_at)"
            f" SELECT gen_random_uuid(), 1, now() - interval '{age}' FROM generate_series(1, 5)"
        )
        database.execute(
            "INSERT INTO uploads (id, owner_id, length_bytes, expires_at, removed_at)"
            f" SELECT gen_random_uuid(), 1, 1, now(), now() - interval '{age}'"
            " FROM generate_series(1, 5)"
        )
    batches.delete_empty()
    uploads.delete_removed_rows()
    counts = [
        db.session.scalar(select(func.count()).select_from(text(table)))
        for table in ("batches", "uploads")
    ]
    assert counts == [5, 5]


def test_sessions_are_in_utc_and_without_jit(database: Database) -> None:
    """Whatever the server's own settings are."""
    database.execute("ALTER DATABASE idrl SET timezone = 'Europe/Berlin'")
    try:
        db.engine.dispose()
        shown = [db.session.scalar(text(f"SHOW {name}")) for name in ("timezone", "jit")]
    finally:
        database.execute("ALTER DATABASE idrl RESET timezone")
    assert shown == ["UTC", "off"]


def add_usage(database: Database, days: int) -> None:
    """Add usage of two accounts on each of the last days."""
    database.execute(
        "INSERT INTO usage_days (owner_id, day)"
        " SELECT owner_id, (now() AT TIME ZONE 'UTC')::date - n"
        f" FROM generate_series(1, 2) owner_id, generate_series(0, {days - 1}) n"
    )


def test_usage_of_more_than_thirteen_months_ago_is_deleted(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_usage(database, 405)
    monkeypatch.setattr(usage, "_BATCH_SIZE", 7)
    of_today = "SELECT count(*), max(day) - min(day) FROM usage_days"
    # As an account's deletion does while it waits for another transaction.
    with database.holding("SELECT FROM usage_days WHERE owner_id = 2 FOR UPDATE"):
        sweep.delete_old_rows(settings)
        assert database.execute(of_today) == [(806, 404)]
    sweep.delete_old_rows(settings)
    sweep.delete_old_rows(settings)
    assert database.execute(of_today) == [(802, 400)]


def test_deleting_old_usage_reads_no_other(database: Database) -> None:
    """The sweeper does so every ten minutes."""
    add_usage(database, 3000)
    database.execute("DELETE FROM usage_days WHERE (now() AT TIME ZONE 'UTC')::date - day > 401")
    database.execute("ANALYZE usage_days")
    assert rows_read(usage._DELETE_OLD, {"limit": 100}) < 20


def test_status_reads_neither_ended_tasks_nor_old_usage(database: Database) -> None:
    database.execute(
        "INSERT INTO tasks (id, owner_id, url, status, finished_at)"
        " SELECT gen_random_uuid(), 1, '', 'done', now() FROM generate_series(1, 3000)"
    )
    add_usage(database, 3000)
    submit()
    database.execute("ANALYZE tasks, usage_days")
    assert rows_read(system_status._ACCOUNTS, {"limit": 50}) < 300
    assert rows_read(system_status._SPEED, {}) < 20
