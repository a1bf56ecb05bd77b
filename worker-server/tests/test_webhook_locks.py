"""Deletions beside a sender: rows are locked in one order, so that neither ends in a deadlock."""

import threading
import uuid
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from sqlalchemy import func, select, text

from idrl_testing.database import Database
from idrl_testing.waiting import wait_until
from worker_server.db import db
from worker_server.models import Webhook, WebhookDelivery
from worker_server.queue import webhook_rows, webhooks
from worker_testing import finished_part, processing

pytestmark = pytest.mark.usefixtures("app")
EVENTS = ["task.done"]


def _add_webhook(task_id: uuid.UUID | None) -> uuid.UUID:
    """Add a webhook of the account, or the callback of that task."""
    extra = {} if task_id is None else {"id": task_id, "task_id": task_id}
    url = "http://127.0.0.1:1/hook"
    row = Webhook(owner_id=1, url=url, events=EVENTS, secret=b"secret", **extra)
    db.session.add(row)
    db.session.commit()
    return row.id


@pytest.fixture(params=["webhook", "callback"])
def delivery(request: pytest.FixtureRequest) -> webhooks.Delivery:
    """A delivery that a sender has claimed: of a webhook, or of a task's callback."""
    task_id = processing(1)
    _add_webhook(task_id if request.param == "callback" else None)
    finished_part()
    claimed = webhooks.claim(30)
    assert claimed is not None
    return claimed


@pytest.fixture
def start(app: Flask) -> Iterator[Callable[..., None]]:
    """Call functions in threads of their own; their errors come out at the end."""
    threads: list[threading.Thread] = []
    errors: list[BaseException] = []

    def call(function: Callable[[], object]) -> None:
        with app.app_context():
            try:
                function()
            except BaseException as error:  # noqa: BLE001 # the assertion below names it
                errors.append(error)

    def start_one(function: Callable[[], object]) -> None:
        threads.append(threading.Thread(target=call, args=(function,)))
        threads[-1].start()

    yield start_one
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert not any(thread.is_alive() for thread in threads)


def _delete(delivery: webhooks.Delivery) -> None:
    """Delete the webhook as its owner does, or the callback's task as the sweeper does."""
    if delivery.task_id == delivery.webhook_id:
        statement = text("DELETE FROM tasks WHERE id = :id").bindparams(id=delivery.task_id)
        db.session.execute(statement)
        db.session.commit()
    else:
        webhook_rows.delete_webhook(1, delivery.webhook_id)


@pytest.mark.parametrize("status", [200, 410, 500])
def test_deletion_beside_the_end_of_an_attempt(
    delivery: webhooks.Delivery,
    start: Callable[..., None],
    database: Database,
    status: int,
) -> None:
    held = f"SELECT id FROM webhook_deliveries WHERE id = '{delivery.id}' FOR UPDATE"
    with database.holding(held):
        start(lambda: webhooks.settle(delivery, webhooks.Outcome(http_status=status)))
        wait_until(lambda: database.waiting() >= 1, 20)
        start(lambda: _delete(delivery))
        wait_until(lambda: database.waiting() >= 2, 20)
    count = select(func.count()).select_from(WebhookDelivery)

    def is_gone() -> bool:
        db.session.rollback()
        return db.session.scalar(count) == 0

    wait_until(is_gone, 20)
