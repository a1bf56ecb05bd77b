"""Callbacks of one task or batch, and `batch.done`: once, however a batch's tasks end."""

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, func, select, text
from standardwebhooks import WebhookVerificationError
from webhook_receiver import Receiver

from idrl_testing.database import Database
from idrl_testing.waiting import LIMIT_S
from worker_server.api import services
from worker_server.db import db
from worker_server.errors import FailureCode, WorkFailed
from worker_server.fetching.addresses import EgressRules
from worker_server.jobs.webhooks import send_due
from worker_server.models import Webhook, WebhookDelivery
from worker_server.queue import batches, cancellation, leases, removals
from worker_server.queue.requeueing import retry_task
from worker_server.queue.retry_policy import RetryLimits
from worker_server.webhooks.sending import Sender
from worker_testing import claim_task, finish_cancel, post, problem

Auth = Callable[..., dict[str, str]]
URL = "https://hooks.example.com/idrl?key=1"


def _items(count: int) -> list[dict[str, Any]]:
    return [{"url": f"http://example.com/{number}.mp4"} for number in range(count)]


def _post(client: FlaskClient, headers: dict[str, str]) -> dict[str, Any]:
    body = {"url": "http://example.com/v.mp4", "callback_url": URL}
    task: dict[str, Any] = client.post("/tasks", json=body, headers=headers).get_json()
    return task


def _post_batch(client: FlaskClient, headers: dict[str, str], **body: object) -> dict[str, Any]:
    answer = client.post("/batches", json={"items": _items(3), **body}, headers=headers)
    assert answer.status_code == 202, answer.get_json()
    batch: dict[str, Any] = answer.get_json()
    return batch


def _secret(client: FlaskClient, headers: dict[str, str], method: str = "GET") -> str:
    answer = client.open("/webhooks/callback-secret", method=method, headers=headers)
    secret: str = answer.get_json()["secret"]
    return secret


def _events(batch_id: str) -> list[str]:
    of_batch = WebhookDelivery.batch_id == uuid.UUID(batch_id)
    db.session.rollback()
    return list(db.session.scalars(select(WebhookDelivery.event).where(of_batch)))


def _end(task_id: str) -> None:
    removals.finish_cancels(db.session, [uuid.UUID(task_id)], 0)
    db.session.commit()


def _send() -> int:
    return send_due(Sender(EgressRules({"127.0.0.1"}), timeout_s=LIMIT_S), lambda: False)


def test_callback_receives_events_of_its_task_alone(
    client: FlaskClient, auth: Auth, receiver: Receiver
) -> None:
    task = _post(client, auth())
    assert task["callback_url"] == URL
    row = db.session.get(Webhook, uuid.UUID(task["task_id"]))
    assert row is not None
    row.url = receiver.url  # callers may not give a loopback URL
    db.session.commit()
    _end(task["task_id"])
    _end(post(client, auth()).get_json()["task_id"])
    assert (_send(), _send()) == (1, 0)
    (body,) = receiver.verified(_secret(client, auth()))
    assert (body["type"], body["data"]["task_id"]) == ("task.canceled", task["task_id"])
    assert body["data"]["callback_url"] == URL
    assert client.get("/webhooks", headers=auth()).get_json() == []
    path = f"/webhooks/{task['task_id']}/deliveries"
    (delivery,) = client.get(path, headers=auth()).get_json()
    assert (delivery["event"], delivery["status"]) == ("task.canceled", "delivered")
    assert problem(client.get(path, headers=auth(2))) == (404, "webhook_not_found")


def test_each_account_has_one_callback_secret(client: FlaskClient, auth: Auth) -> None:
    first, others = _secret(client, auth()), _secret(client, auth(2))
    assert first != others
    assert _secret(client, auth()) == first
    second = _secret(client, auth(), "POST")
    assert second not in (first, others)
    assert (_secret(client, auth()), _secret(client, auth(2))) == (second, others)
    gone = client.delete("/webhooks/callback-secret", headers=auth())
    assert gone.status_code == 204
    assert _secret(client, auth(2)) == others
    assert _secret(client, auth()) not in (first, second, others)


def test_secret_that_is_deleted_while_it_is_looked_up(
    client: FlaskClient, auth: Auth, database: Database
) -> None:
    first, statements = _secret(client, auth()), []

    def forget(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "callback_secrets" in statement:
            statements.append(statement)
            if len(statements) == 1:
                database.execute("DELETE FROM callback_secrets")

    event.listen(db.engine, "after_cursor_execute", forget)
    try:
        shown = _secret(client, auth())
    finally:
        event.remove(db.engine, "after_cursor_execute", forget)
    assert shown.startswith("whsec_")
    assert _secret(client, auth()) != first


def test_replaced_secret_signs_for_a_day(
    client: FlaskClient, auth: Auth, receiver: Receiver, database: Database
) -> None:
    task_ids = [_post(client, auth())["task_id"] for _ in range(2)]
    database.execute(f"UPDATE webhooks SET url = '{receiver.url}'")
    old, others = _secret(client, auth()), _secret(client, auth(2))
    new = _secret(client, auth(), "POST")
    nearly = "previous_until - interval '23 h 59 min'"
    database.execute(f"UPDATE callback_secrets SET previous_until = {nearly}")
    _end(task_ids[0])
    assert _send() == 1
    assert len(receiver.verified(old)) == len(receiver.verified(new)) == 1
    with pytest.raises(WebhookVerificationError):
        receiver.verified(others)
    database.execute("UPDATE callback_secrets SET previous_until = now()")
    receiver.received.clear()
    _end(task_ids[1])
    assert _send() == 1
    assert len(receiver.verified(new)) == 1
    with pytest.raises(WebhookVerificationError):
        receiver.verified(old)


def test_deleted_secret_signs_nothing_more(
    client: FlaskClient, auth: Auth, receiver: Receiver, database: Database
) -> None:
    task_id = _post(client, auth())["task_id"]
    database.execute(f"UPDATE webhooks SET url = '{receiver.url}'")
    stolen = _secret(client, auth())
    assert client.delete("/webhooks/callback-secret", headers=auth()).status_code == 204
    _end(task_id)
    assert _send() == 1
    with pytest.raises(WebhookVerificationError):
        receiver.verified(stolen)


def test_batch_is_done_once_its_last_task_has_ended(client: FlaskClient, auth: Auth) -> None:
    batch = _post_batch(client, auth(), callback_url=URL)
    assert batch["callback_url"] == URL
    for task_id in batch["task_ids"]:
        assert _events(batch["batch_id"]) == []
        _end(task_id)
    assert _events(batch["batch_id"]) == ["batch.done"]


def test_tasks_that_end_together_end_their_batch_once(
    app: Flask, client: FlaskClient, auth: Auth, database: Database
) -> None:
    batch = _post_batch(client, auth(), callback_url=URL)
    first, second, third = batch["task_ids"]
    _end(first)
    removals.finish_cancels(db.session, [uuid.UUID(second)], 0)
    db.session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))  # as the commit does

    def end_third() -> None:
        with app.app_context():
            _end(third)

    other = threading.Thread(target=end_third)
    other.start()
    while other.is_alive() and not _waits_for_advisory_lock(database):
        time.sleep(0.02)
    db.session.commit()
    other.join()
    assert _events(batch["batch_id"]) == ["batch.done"]


def _waits_for_advisory_lock(database: Database) -> bool:
    waiting = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    return bool(database.execute(waiting))


def test_aborting_a_batch_ends_it_once(client: FlaskClient, auth: Auth) -> None:
    account_wide = client.post(
        "/webhooks", json={"url": URL, "events": ["batch.done"]}, headers=auth()
    )
    assert account_wide.status_code == 201
    batch = _post_batch(client, auth(), callback_url=URL)
    assert client.delete(batch["link"], headers=auth()).status_code in (200, 202)
    for task_id in batch["task_ids"]:
        if services.delete_task(1, uuid.UUID(task_id)) is cancellation.Deletion.CANCELING:
            finish_cancel(uuid.UUID(task_id))
    assert _events(batch["batch_id"]) == ["batch.done"] * 2  # to the webhook and to the callback


def test_retried_task_ends_its_batch_again(client: FlaskClient, auth: Auth) -> None:
    batch = _post_batch(client, auth(), items=_items(1), callback_url=URL)
    lease = claim_task()
    assert str(lease.task_id) == batch["task_ids"][0]
    failure = WorkFailed(FailureCode.SOURCE_NOT_FOUND, "The source answered 404.")
    assert leases.fail(lease, failure, RetryLimits(1))
    assert _events(batch["batch_id"]) == ["batch.done"]
    assert retry_task(1, lease.task_id)
    assert _events(batch["batch_id"]) == ["batch.done"]
    _end(batch["task_ids"][0])
    assert _events(batch["batch_id"]) == ["batch.done"] * 2


def test_batch_is_not_deleted_before_its_callback_is_sent(
    client: FlaskClient, auth: Auth, database: Database, receiver: Receiver
) -> None:
    """Its caller has deleted the tasks, and the receiver was down for a day."""
    batch = _post_batch(client, auth(), items=_items(1), callback_url=URL)
    _end(batch["task_ids"][0])
    assert client.delete(f"/tasks/{batch['task_ids'][0]}", headers=auth()).status_code == 200
    database.execute("UPDATE batches SET created_at = created_at - interval '2 days'")
    batches.delete_empty()
    database.execute(f"UPDATE webhooks SET url = '{receiver.url}'")
    assert _send() == 1
    batches.delete_empty()
    assert client.get(batch["link"], headers=auth()).status_code == 404


def test_repeated_request_makes_no_second_callback(client: FlaskClient, auth: Auth) -> None:
    key = {**auth(), "Idempotency-Key": "once"}
    body = {"url": "http://example.com/v.mp4", "callback_url": URL}
    ids = {client.post("/tasks", json=body, headers=key).get_json()["task_id"] for _ in range(2)}
    assert len(ids) == 1
    assert db.session.scalar(select(func.count()).select_from(Webhook)) == 1
    other = client.post("/tasks", json={**body, "callback_url": URL + "2"}, headers=key)
    assert problem(other)[0] in (409, 422)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:8080/", "url_private_address"),
        ("http://[::1]:8080/", "url_private_address"),
        ("ftp://example.com/", "url_scheme_not_allowed"),
        ("https://a:b@example.com/", "url_credentials_not_allowed"),
        ("", "too_short"),
        ("https://example.com/" + "x" * 3000, "url_too_long"),
    ],
)
def test_callbacks_that_can_never_be_reached(
    client: FlaskClient, auth: Auth, url: str, code: str
) -> None:
    source = {"url": "http://example.com/v.mp4"}
    wrong = {**source, "callback_url": url}
    for path, body, field in (
        ("/tasks", wrong, "callback_url"),
        ("/batches", {"items": [source], "callback_url": url}, "callback_url"),
        ("/batches", {"items": [source, wrong]}, "items.1.callback_url"),
    ):
        answer = client.post(path, json=body, headers=auth())
        assert answer.status_code == 400
        (error,) = answer.get_json()["errors"]
        assert (error["field"], error["code"]) == (field, code)
    assert client.get("/tasks", headers=auth()).get_json() == []


def test_callback_goes_with_its_task(client: FlaskClient, auth: Auth) -> None:
    other = post(client, auth()).get_json()
    task = _post(client, auth())
    _end(task["task_id"])
    assert client.delete(task["link"], headers=auth()).status_code == 200
    assert problem(client.get(f"/webhooks/{task['task_id']}", headers=auth()))[0] == 404
    assert client.get(other["link"], headers=auth()).get_json()["callback_url"] is None
    assert db.session.scalar(select(func.count()).select_from(WebhookDelivery)) == 0
