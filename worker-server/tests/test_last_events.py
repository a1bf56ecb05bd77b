"""Events whose task, batch or webhook ends before they are sent."""

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select, text
from sqlalchemy.event import listen, remove
from webhook_receiver import Receiver

from idrl_testing.waiting import LIMIT_S
from worker_server import webhook_signatures as signing
from worker_server.api import services
from worker_server.db import db, transaction
from worker_server.fetching.addresses import EgressRules
from worker_server.jobs import sweep
from worker_server.jobs.webhooks import send_due
from worker_server.models import Task, Webhook, WebhookDelivery
from worker_server.queue import retention, webhook_rows, webhooks
from worker_server.queue.events import EventKind, record
from worker_server.queue.webhooks import Outcome
from worker_server.settings import Settings
from worker_server.webhooks.sending import Sender
from worker_testing import URL, finished_part, processing

EVENTS = ["task.done", "task.failed", "task.canceled", "batch.done"]


@pytest.fixture
def webhook(receiver: Receiver) -> uuid.UUID:
    """A webhook of user 1."""
    row = Webhook(owner_id=1, url=receiver.url, events=EVENTS, secret=signing.make_secret())
    db.session.add(row)
    db.session.commit()
    return row.id


def send() -> int:
    return send_due(Sender(EgressRules({"127.0.0.1"}), timeout_s=LIMIT_S), lambda: False, 30)


def rows() -> list[WebhookDelivery]:
    db.session.expire_all()
    return list(db.session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.event_at)))


def finish() -> uuid.UUID:
    task_id = processing(1)
    finished_part()
    return task_id


def body_of(received: tuple[dict[str, str], bytes]) -> Any:  # noqa: ANN401 # JSON has no types
    return json.loads(received[1])


def in_app(app: Flask, work: Callable[[], object]) -> object:
    with app.app_context():
        return work()


@pytest.mark.usefixtures("app", "webhook")
def test_event_concurrent_with_a_410_is_failed(app: Flask) -> None:
    """Its transaction has begun before the attempt ends, and ends afterwards."""
    finish()
    refused = webhooks.claim(30)
    assert refused is not None
    record(db.session, processing(1), EventKind.TASK_FAILED)
    with ThreadPoolExecutor(1) as other:
        other.submit(in_app, app, partial(webhooks.record_attempt, refused, Outcome(410))).result()
    db.session.commit()
    assert sorted(each.status for each in rows()) == ["failed", "waiting"]
    assert send() == 0
    webhook_rows.end_deliveries_of_disabled()
    assert {(each.status, each.error_code) for each in rows()} == {
        ("failed", None),
        ("failed", "webhook_disabled"),
    }


@pytest.mark.usefixtures("app", "webhook")
@pytest.mark.parametrize("deletion", ["deleted", "expired"])
def test_event_of_an_expired_task_is_sent_complete(
    receiver: Receiver, settings: Settings, deletion: str
) -> None:
    task_id = finish()
    if deletion == "deleted":
        assert services.delete_task(1, task_id) == "deleted"
    else:
        retention.apply_setting(30)
        with transaction() as session:
            session.execute(text("UPDATE retention SET since = since - interval '365 days'"))
            session.execute(text("UPDATE tasks SET finished_at = now() - interval '31 days'"))
        sweep.delete_expired_tasks(settings.model_copy(update={"retention_days": 30}))
    assert db.session.scalar(select(func.count()).select_from(Task)) == 0
    assert send() == 1
    (event,) = map(body_of, receiver.received)
    assert event["type"] == "task.done"
    assert (event["data"]["task_id"], event["data"]["status"]) == (str(task_id), "done")
    assert len(event["data"]["parts"]) == 1


def statements_of_a_deletion(client: FlaskClient, headers: dict[str, str], items: int) -> int:
    """Cancel a batch of planned tasks and delete it; return how many statements the latter took."""
    item = {"url": URL, "start": "manual"}
    batch = client.post("/batches", json={"items": [item] * items}, headers=headers).get_json()
    assert client.delete(batch["link"], headers=headers).get_json()["status"] == "canceled"
    statements = list[str]()

    def add(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    listen(db.engine, "before_cursor_execute", add)
    try:
        assert client.delete(batch["link"], headers=headers).get_json()["status"] == "deleted"
    finally:
        remove(db.engine, "before_cursor_execute", add)
    return len(statements)


def test_each_webhook_gets_the_events_of_a_deleted_batch_for_the_same_statements(
    client: FlaskClient, auth: Callable[..., dict[str, str]], webhook: uuid.UUID, receiver: Receiver
) -> None:
    """A batch of 100 tasks with ten webhooks took longer than a call may."""
    with_one = statements_of_a_deletion(client, auth(), items=3)
    url = db.session.get_one(Webhook, webhook).url
    for _ in range(3):
        db.session.add(Webhook(owner_id=1, url=url, events=EVENTS, secret=signing.make_secret()))
    db.session.commit()
    assert statements_of_a_deletion(client, auth(), items=3) == with_one
    assert send() == (3 + 1) * (1 + 4)
    ids = [body_of(received)["data"].get("task_id") for received in receiver.received]
    assert len(set(ids) - {None}) == 3 + 3


@pytest.mark.usefixtures("app", "webhook")
def test_event_of_an_expired_batch_is_sent_complete(
    client: FlaskClient, auth: Callable[..., dict[str, str]], receiver: Receiver
) -> None:
    batch = client.post("/batches", json={"items": [{"url": URL}]}, headers=auth()).get_json()
    for expected in ("canceled", "deleted"):
        answer = client.delete(batch["link"], headers=auth())
        assert answer.get_json()["status"] == expected
    assert send() == 2
    events = {each["type"]: each["data"] for each in map(body_of, receiver.received)}
    assert events["task.canceled"]["task_id"] == batch["task_ids"][0]
    assert events["batch.done"]["counts"]["canceled"] == 1
