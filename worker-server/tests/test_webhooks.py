"""Webhooks: every event is delivered at least once, signed, and to public receivers alone."""

import os
import signal
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import select, text
from webhook_receiver import Receiver

from idrl_testing.clocks import Clock
from idrl_testing.database import Database
from idrl_testing.waiting import LIMIT_S, wait_until
from worker_server import webhook_signatures as signing
from worker_server.db import db
from worker_server.fetching import watchdog
from worker_server.fetching.addresses import EgressRules
from worker_server.jobs.webhooks import attempt, send_due
from worker_server.models import Webhook, WebhookDelivery
from worker_server.queue import removals, webhook_rows, webhooks
from worker_server.queue.webhooks import RETRY_AFTER_S
from worker_server.webhooks.sending import Sender
from worker_testing import finished_part, processing, submit

pytestmark = pytest.mark.usefixtures("app")
SECRET = signing.make_secret()
ENCODED_SECRET = signing.encode_secret(SECRET)
EVENTS = ["task.done", "task.failed", "task.canceled"]


@pytest.fixture
def add(receiver: Receiver) -> Callable[..., uuid.UUID]:
    """Add a webhook, of user 1 by default."""

    def add_one(
        url: str | None = None, events: list[str] | None = None, owner_id: int = 1
    ) -> uuid.UUID:
        row = Webhook(owner_id=owner_id, url=url or receiver.url, events=events or EVENTS)
        row.secret = SECRET
        db.session.add(row)
        db.session.commit()
        return row.id

    return add_one


def _sender(timeout_s: float = LIMIT_S) -> Sender:
    return Sender(EgressRules({"127.0.0.1"}), timeout_s=timeout_s)


def _send(timeout_s: float = LIMIT_S, lease_s: float = 30) -> int:
    return send_due(_sender(timeout_s), lambda: False, lease_s)


def _pause_s() -> tuple[float, float]:
    """Send the only event; return how long it waits for the next attempt, at least and at most."""
    before = datetime.now(UTC)
    assert _send() == 1
    run_after = _row().run_after
    return (run_after - datetime.now(UTC)).total_seconds(), (run_after - before).total_seconds()


def _rows() -> list[WebhookDelivery]:
    db.session.expire_all()
    return list(db.session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.event_at)))


def _row() -> WebhookDelivery:
    (row,) = _rows()
    return row


def _make_due() -> None:
    db.session.execute(text("UPDATE webhook_deliveries SET run_after = now()"))
    db.session.commit()


def _finish() -> uuid.UUID:
    task_id = processing(1)
    finished_part()
    return task_id


def test_event_of_a_finished_task_is_sent_once_and_signed(
    add: Callable[..., uuid.UUID], receiver: Receiver
) -> None:
    add()
    task_id = _finish()
    processing(1, owner_id=2)
    finished_part()  # another account's
    assert (_send(), _send()) == (1, 0)
    (body,) = receiver.verified(ENCODED_SECRET)
    assert (body["type"], body["data"]["task_id"]) == ("task.done", str(task_id))
    assert (body["data"]["status"], len(body["data"]["parts"])) == ("done", 1)
    row = _row()
    in_utc = row.event_at.astimezone(UTC)
    assert body["timestamp"] == in_utc.strftime("%Y-%m-%dT%H:%M:%S.") + (
        f"{in_utc.microsecond // 1000:03}Z"
    )
    assert (row.status, row.http_status, row.attempt) == ("delivered", 204, 1)
    assert receiver.received[0][0]["webhook-id"] == f"msg_{row.id}"


def test_events_are_those_that_the_webhook_names(add: Callable[..., uuid.UUID]) -> None:
    add(events=["part.done"])
    add(events=["task.canceled"])
    _finish()
    task_id = submit()
    removals.finish_cancels(db.session, [task_id], 0)
    db.session.commit()
    assert [(row.event, row.part) for row in _rows()] == [("part.done", 0), ("task.canceled", None)]


def test_rolled_back_change_sends_no_event(add: Callable[..., uuid.UUID]) -> None:
    add()
    removals.finish_cancels(db.session, [submit()], 0)
    db.session.rollback()
    assert _rows() == []


@pytest.mark.parametrize("status", [500, 404, 302, 429])
def test_a_refused_event_is_tried_again_the_same(
    add: Callable[..., uuid.UUID], receiver: Receiver, status: int
) -> None:
    add()
    _finish()
    receiver.status, receiver.headers = status, {"Location": receiver.url, "Retry-After": "900"}
    shortest_s, longest_s = _pause_s()
    assert shortest_s <= 900 <= longest_s
    _make_due()
    receiver.status = 200
    assert _send() == 1
    (first, body), (second, again) = receiver.received
    assert (first["webhook-id"], body) == (second["webhook-id"], again)
    assert len(receiver.verified(ENCODED_SECRET)) == 2
    assert (_row().status, _row().attempt) == ("delivered", 2)


def test_three_days_of_errors_end_in_a_failed_delivery(
    add: Callable[..., uuid.UUID], receiver: Receiver
) -> None:
    add()
    _finish()
    receiver.status = 500
    for planned_s in RETRY_AFTER_S:
        shortest_s, longest_s = _pause_s()
        assert shortest_s <= planned_s * 1.1
        assert planned_s * 0.9 <= longest_s
        _make_due()
    assert _send() == 1
    assert (_row().status, _row().http_status) == ("failed", 500)
    assert 2.5 * 86_400 < sum(RETRY_AFTER_S) < 3.5 * 86_400
    _make_due()
    assert _send() == 0


def test_410_disables_the_webhook(add: Callable[..., uuid.UUID], receiver: Receiver) -> None:
    webhook_id = add()
    _finish()
    receiver.status = 410
    assert _send() == 1
    _finish()
    assert (_row().status, _send()) == ("failed", 0)
    webhook = db.session.get(Webhook, webhook_id)
    assert webhook is not None
    assert webhook.disabled_at is not None


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.2:8080/", "url_private_address"),
        ("http://169.254.169.254/", "url_private_address"),
        ("http://127.0.0.1:1/", "receiver_unavailable"),
    ],
)
def test_failed_delivery_waits_with_its_code(
    add: Callable[..., uuid.UUID], url: str, code: str
) -> None:
    add(url)
    _finish()
    assert _send() == 1
    assert (_row().status, _row().error_code) == ("waiting", code)


def test_a_slow_receiver_is_left_at_the_deadline(
    add: Callable[..., uuid.UUID], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    add()
    _finish()
    clock, is_left = Clock(), threading.Event()
    monkeypatch.setattr(watchdog, "time", clock)

    def hang() -> None:
        clock.sleep(LIMIT_S)
        is_left.wait(LIMIT_S)

    receiver.before_answer = hang
    assert _send() == 1
    is_left.set()
    assert _row().error_code == "receiver_too_slow"


def test_a_killed_senders_event_is_sent_again(
    add: Callable[..., uuid.UUID], receiver: Receiver
) -> None:
    add()
    _finish()
    receiver.pause_s = 30
    db.session.remove()
    db.engine.dispose()
    child = os.fork()
    if child == 0:
        _send(timeout_s=20, lease_s=2)
        os._exit(0)
    wait_until(lambda: receiver.received)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    receiver.pause_s = 0
    wait_until(_send)
    ids = {headers["webhook-id"] for headers, _ in receiver.received}
    assert (len(receiver.received), ids) == (2, {f"msg_{_row().id}"})
    assert len(receiver.verified(ENCODED_SECRET)) == 2


def test_event_is_sent_again_to_a_killed_receiver(
    add: Callable[..., uuid.UUID], receiver: Receiver
) -> None:
    add()
    _finish()
    receiver.is_killed = True
    assert _send() == 1
    assert (_row().status, _row().error_code) == ("waiting", "receiver_unavailable")
    receiver.is_killed = False
    _make_due()
    assert _send() == 1
    first, second = (headers["webhook-id"] for headers, _ in receiver.received)
    assert first == second
    assert (len(receiver.verified(ENCODED_SECRET)), _row().status) == (2, "delivered")


def test_restart_of_postgresql_loses_no_event(
    add: Callable[..., uuid.UUID], receiver: Receiver, database: Database
) -> None:
    add()
    _finish()
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'worker'"
    receiver.before_answer = lambda: database.execute(cut)
    assert _send() == 1
    receiver.before_answer = bool
    db.session.remove()
    assert (_row().status, _row().attempt) == ("delivered", 1)
    assert len(receiver.verified(ENCODED_SECRET)) == 1
    assert _send() == 0


def test_receiver_has_one_attempt_at_a_time(add: Callable[..., uuid.UUID]) -> None:
    add()
    add()
    _finish()
    _finish()
    first, second = webhooks.claim(30), webhooks.claim(30)
    assert first is not None
    assert second is not None
    assert webhooks.claim(30) is None
    assert first.webhook_id != second.webhook_id
    webhooks.record_attempt(first, webhooks.Outcome(http_status=200))
    assert webhooks.claim(30) is not None


def test_slow_receivers_of_one_account_hold_up_no_others(add: Callable[..., uuid.UUID]) -> None:
    """However many of them one account has: each sender that is free takes another account's."""
    for _ in range(3):
        add()
    other = add(owner_id=2)
    _finish()
    processing(1, owner_id=2)
    finished_part()
    claimed = [webhooks.claim(30) for _ in range(5)]
    owners = [delivery.owner_id for delivery in claimed if delivery]
    assert owners == [1, 2, 1, 1]
    assert [each.webhook_id for each in claimed if each and each.owner_id == 2] == [other]


def test_event_that_is_sent_again_meanwhile_is_settled(
    add: Callable[..., uuid.UUID],
) -> None:
    webhook_id = add()
    _finish()
    first = webhooks.claim(30)
    assert first is not None
    webhook_rows.resend(1, webhook_id, first.id)
    assert webhooks.claim(30) is None  # the first attempt is still under way
    webhooks.record_attempt(first, webhooks.Outcome(http_status=500))
    assert _row().http_status == 500
    _make_due()
    second = webhooks.claim(30)
    assert second is not None
    webhooks.record_attempt(first, webhooks.Outcome(http_status=204))  # by a sender that was frozen
    assert (_row().status, _row().http_status) == ("waiting", 500)
    webhooks.record_attempt(second, webhooks.Outcome(http_status=204))
    assert _row().status == "delivered"


def test_event_that_is_sent_again_during_its_last_attempt_has_others(
    add: Callable[..., uuid.UUID],
) -> None:
    webhook_id = add()
    _finish()
    db.session.execute(text(f"UPDATE webhook_deliveries SET attempt = {len(RETRY_AFTER_S)}"))
    db.session.commit()
    last = webhooks.claim(30)
    assert last is not None
    webhook_rows.resend(1, webhook_id, last.id)
    webhooks.record_attempt(last, webhooks.Outcome(http_status=500))
    assert _row().status == "waiting"
    _make_due()
    again = webhooks.claim(30)
    assert again is not None
    assert again.number == 1


def test_events_of_one_transaction_are_sent_in_their_order(
    add: Callable[..., uuid.UUID], receiver: Receiver
) -> None:
    add(events=["part.done", "task.done"])
    _finish()
    first, second = _rows()
    assert first.event_at == second.event_at  # one transaction
    assert {first.event, second.event} == {"part.done", "task.done"}
    times = {row.event: row.run_after for row in (first, second)}
    assert times["part.done"] < times["task.done"]
    assert _send() == 2
    sent = [body["type"] for body in receiver.verified(ENCODED_SECRET)]
    assert sent == ["part.done", "task.done"]


def test_event_is_dated_by_the_databases_clock(
    add: Callable[..., uuid.UUID], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Receivers refuse what is some minutes old, so a worker's clock may not matter."""
    add()
    _finish()
    now_s = time.time()
    with monkeypatch.context() as wrong_clock:
        wrong_clock.setattr(time, "time", lambda: now_s - 3600)
        assert _send() == 1
    assert len(receiver.verified(ENCODED_SECRET)) == 1


def test_outbox_does_not_keep_a_large_task_for_each_part(
    add: Callable[..., uuid.UUID], receiver: Receiver
) -> None:
    add(events=["part.done", "task.done"])
    task_id = processing(500)
    _finish_part_and_task()
    receiver.status = 500
    assert _send() == 2
    kept = {row.event: row.payload for row in _rows()}
    assert kept["part.done"] is None
    assert kept["task.done"] is not None
    _make_due()
    receiver.status = 200
    assert _send() == 2
    bodies = receiver.verified(ENCODED_SECRET)
    assert [body["data"]["task_id"] for body in bodies] == [str(task_id)] * 4
    assert {len(body["data"]["parts"]) for body in bodies} == {500}


def _finish_part_and_task() -> None:
    """Finish a task of many parts with the first one."""
    db.session.execute(text("UPDATE parts SET status = 'done' WHERE number > 0"))
    db.session.commit()
    finished_part()


def test_frozen_sender_sends_what_the_other_one_has_sent(
    add: Callable[..., uuid.UUID], receiver: Receiver
) -> None:
    """It had claimed the event before, and made no payload yet."""
    add()
    task_id = _finish()
    frozen = webhooks.claim(30)
    assert frozen is not None
    db.session.execute(text("UPDATE webhooks SET busy_until = NULL"))
    _make_due()
    assert _send() == 1
    db.session.execute(text("UPDATE tasks SET name = 'changed'"))
    db.session.commit()
    assert attempt(_sender(), frozen, lambda: False).is_delivered
    (first, body), (second, again) = receiver.received
    assert (first["webhook-id"], body) == (second["webhook-id"], again)
    assert receiver.verified(ENCODED_SECRET)[1]["data"]["task_id"] == str(task_id)
