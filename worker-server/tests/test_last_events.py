"""Events whose task, batch or webhook ends before they are sent."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from flask import Flask
from sqlalchemy import select
from webhook_receiver import Receiver

from worker_server import webhook_signatures as signing
from worker_server.db import db
from worker_server.fetching.addresses import EgressRules
from worker_server.jobs.webhooks import send_due
from worker_server.models import Webhook, WebhookDelivery
from worker_server.queue import webhook_rows, webhooks
from worker_server.queue.events import EventKind, record
from worker_server.queue.webhooks import Outcome
from worker_server.webhooks.sending import Sender
from worker_testing import finished_part, processing

EVENTS = ["task.done", "task.failed", "task.canceled", "batch.done"]


@pytest.fixture
def webhook(receiver: Receiver) -> uuid.UUID:
    """A webhook of user 1."""
    row = Webhook(owner_id=1, url=receiver.url, events=EVENTS, secret=signing.make_secret())
    db.session.add(row)
    db.session.commit()
    return row.id


def send() -> int:
    return send_due(Sender(EgressRules({"127.0.0.1"}), timeout_s=5), lambda: False, 30)


def rows() -> list[WebhookDelivery]:
    db.session.expire_all()
    return list(db.session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.event_at)))


def finish() -> uuid.UUID:
    task_id = processing(1)
    finished_part()
    return task_id


def in_app(app: Flask, work: Callable[[], object]) -> object:
    with app.app_context():
        return work()


@pytest.mark.usefixtures("app", "webhook")
def test_event_beside_the_410_that_disables_its_webhook_is_given_up(app: Flask) -> None:
    """Its transaction has begun before the attempt ends, and ends afterwards."""
    finish()
    refused = webhooks.claim(30)
    assert refused is not None
    record(db.session, processing(1), EventKind.TASK_FAILED)
    with ThreadPoolExecutor(1) as other:
        other.submit(in_app, app, partial(webhooks.settle, refused, Outcome(410))).result()
    db.session.commit()
    assert sorted(each.status for each in rows()) == ["failed", "waiting"]
    assert send() == 0
    webhook_rows.end_deliveries_of_disabled()
    assert {(each.status, each.error_code) for each in rows()} == {
        ("failed", None),
        ("failed", "webhook_disabled"),
    }
