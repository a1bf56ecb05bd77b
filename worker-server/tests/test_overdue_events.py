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


@pytest.fixture
def add_events(database: Database) -> Callable[[str, int], uuid.UUID]:
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


def statuses(database: Database, webhook_id: uuid.UUID) -> list[tuple[object, ...]]:
    return database.execute(
        "SELECT status, error_code, count(*) FROM webhook_deliveries"
        f" WHERE webhook_id = '{webhook_id}' GROUP BY 1, 2 ORDER BY 1, 2"
    )


def attempt(outcome: Outcome) -> uuid.UUID:
    """End the next attempt; return its webhook."""
    delivery = webhooks.claim(30)
    assert delivery is not None
    webhooks.record_attempt(delivery, outcome)
    return delivery.webhook_id


@pytest.mark.parametrize("outcome", [TOO_SLOW, Outcome(http_status=503)])
def test_what_is_due_for_days_is_given_up_when_the_receiver_fails_again(
    database: Database, add_events: Callable[[str, int], uuid.UUID], outcome: Outcome
) -> None:
    """Attempts of ten seconds, one at a time, are 8,640 a day: the backlog grew without end."""
    hanging, other = add_events("73 hours", 5), add_events("71 hours", 2)
    assert attempt(outcome) == hanging
    assert statuses(database, hanging) == [
        ("failed", "webhook_overdue", 4),
        ("waiting", outcome.error_code, 1),
    ]
    assert attempt(outcome) == other
    assert [count for *_, count in statuses(database, other)] in ([2], [1, 1])
    assert {status for status, *_ in statuses(database, other)} == {"waiting"}


def test_receiver_that_answers_gets_all_after_an_outage(
    database: Database, add_events: Callable[[str, int], uuid.UUID]
) -> None:
    """Events are also due for long where no sender has run."""
    webhook_id = add_events("99 hours", 3)
    for _ in range(3):
        attempt(Outcome(http_status=200))
    assert statuses(database, webhook_id) == [("delivered", None, 3)]


def test_event_that_is_sent_again_is_not_overdue(
    database: Database, add_events: Callable[[str, int], uuid.UUID]
) -> None:
    webhook_id = add_events("99 hours", 1)
    for _ in range(10):
        attempt(TOO_SLOW)
        database.execute("UPDATE webhook_deliveries SET run_after = now()")
    assert statuses(database, webhook_id) == [("failed", "receiver_too_slow", 1)]
