"""Events for a receiver that hangs or fails: they may come faster than attempts end."""

import uuid
from collections.abc import Callable

import pytest

from idrl_testing.database import Database
from worker_server.db import db
from worker_server.models import Webhook
from worker_server.queue import webhooks
from worker_server.queue.webhooks import Outcome

pytestmark = pytest.mark.usefixtures("app")
TOO_SLOW = Outcome(error_code="receiver_too_slow")
AddEvents = Callable[[str, int], uuid.UUID]
AddAttempts = Callable[[uuid.UUID, str, str], None]


@pytest.fixture
def add_events(database: Database) -> AddEvents:
    """Add events of a new webhook that are due for this long; return the webhook."""

    def add(due_for: str, count: int) -> uuid.UUID:
        row = Webhook(owner_id=1, url="http://127.0.0.1:1/", events=["task.done"], secret=b"s")
        db.session.add(row)
        db.session.commit()
        due = f"now() - interval '{due_for}' + n * interval '1 s'"
        database.execute(
            "INSERT INTO webhook_deliveries (webhook_id, event, event_at, run_after)"
            f" SELECT '{row.id}', 'task.done', {due}, {due} FROM generate_series(1, {count}) n"
        )
        return row.id

    return add


@pytest.fixture
def add_attempts(database: Database) -> AddAttempts:
    """Add an attempt to reach the webhook every half hour, from so long ago until so long ago."""

    def add(webhook_id: uuid.UUID, begin: str, end: str) -> None:
        times = f"now() - interval '{begin}', now() - interval '{end}', interval '30 min'"
        database.execute(
            "INSERT INTO webhook_deliveries (webhook_id, event, event_at, attempted_at, status)"
            f" SELECT '{webhook_id}', 'webhook.test', at, at, 'failed'"
            f" FROM generate_series({times}) AS at"
        )

    return add


def statuses(database: Database, webhook_id: uuid.UUID) -> list[tuple[object, ...]]:
    return database.execute(
        "SELECT status, error_code, count(*) FROM webhook_deliveries"
        f" WHERE webhook_id = '{webhook_id}' AND event = 'task.done' GROUP BY 1, 2 ORDER BY 1, 2"
    )


def attempt(outcome: Outcome) -> uuid.UUID:
    """End the next attempt; return its webhook."""
    delivery = webhooks.claim(30)
    assert delivery is not None
    webhooks.record_attempt(delivery, outcome)
    return delivery.webhook_id


@pytest.mark.parametrize("outcome", [TOO_SLOW, Outcome(http_status=503)])
def test_what_is_due_for_days_is_given_up_when_the_receiver_fails_again(
    database: Database, add_events: AddEvents, add_attempts: AddAttempts, outcome: Outcome
) -> None:
    """Attempts of ten seconds, one at a time, are 8,640 a day: the backlog grew without end."""
    hanging, other = add_events("73 hours", 5), add_events("71 hours", 2)
    add_attempts(hanging, "73 hours", "1 min")
    assert attempt(outcome) == hanging
    assert statuses(database, hanging) == [
        ("failed", "webhook_overdue", 4),
        ("waiting", outcome.error_code, 1),
    ]
    assert attempt(outcome) == other
    assert [count for *_, count in statuses(database, other)] in ([2], [1, 1])
    assert {status for status, *_ in statuses(database, other)} == {"waiting"}


@pytest.mark.parametrize(
    ("due_for", "attempts"),
    [
        ("99 hours", []),
        ("99 hours", [("99 hours", "90 hours")]),
        ("200 hours", [("200 hours", "160 hours"), ("60 hours", "30 hours")]),
    ],
)
def test_days_of_the_systems_own_downtime_are_not_the_receivers(
    database: Database,
    add_events: AddEvents,
    add_attempts: AddAttempts,
    due_for: str,
    attempts: list[tuple[str, str]],
) -> None:
    """After a long weekend without power one failed attempt gave up all that had waited."""
    webhook_id = add_events(due_for, 3)
    for begin, end in attempts:
        add_attempts(webhook_id, begin, end)
    assert attempt(TOO_SLOW) == webhook_id
    assert {status for status, *_ in statuses(database, webhook_id)} == {"waiting"}


def test_downtime_only_postpones_the_end(
    database: Database, add_events: AddEvents, add_attempts: AddAttempts
) -> None:
    webhook_id = add_events("200 hours", 3)
    add_attempts(webhook_id, "200 hours", "160 hours")
    add_attempts(webhook_id, "60 hours", "1 min")
    assert attempt(TOO_SLOW) == webhook_id
    assert ("failed", "webhook_overdue", 2) in statuses(database, webhook_id)


def test_receiver_that_answers_gets_all_after_an_outage(
    database: Database, add_events: AddEvents
) -> None:
    """Events are also due for long where no sender has run."""
    webhook_id = add_events("99 hours", 3)
    for _ in range(3):
        attempt(Outcome(http_status=200))
    assert statuses(database, webhook_id) == [("delivered", None, 3)]


def test_event_that_is_sent_again_is_not_overdue(database: Database, add_events: AddEvents) -> None:
    webhook_id = add_events("99 hours", 1)
    for _ in range(10):
        attempt(TOO_SLOW)
        database.execute("UPDATE webhook_deliveries SET run_after = now()")
    assert statuses(database, webhook_id) == [("failed", "receiver_too_slow", 1)]
