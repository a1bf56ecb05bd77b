"""Transactions that lock the same rows do so in one order: none ends in a deadlock.

A third transaction holds a row, so that the two run_concurrently in the order that would be fatal.
"""

import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import func, insert, select, text

from idrl_testing.database import Database
from idrl_testing.waiting import wait_until
from worker_server.db import db
from worker_server.models import Webhook, WebhookDelivery
from worker_server.queue import (
    batches,
    events,
    leases,
    preemption,
    removals,
    submissions,
    unsent_events,
    uploads,
    webhook_rows,
    webhooks,
)
from worker_server.queue.batches import BatchSubmission
from worker_server.queue.quotas import Quotas
from worker_server.queue.retry_policy import RetryLimits
from worker_server.queue.submissions import Submission
from worker_testing import LOST, claim_part, finished_part, part_of, processing

pytestmark = pytest.mark.usefixtures("app")
QUOTAS = Quotas(live_tasks=1000)
CALLBACK = "http://127.0.0.1:1/hook"
Call = Callable[[], object]
RunConcurrently = Callable[[str, Sequence[Call]], list[Future[object]]]


@pytest.fixture
def run_concurrently(app: Flask, database: Database) -> RunConcurrently:
    """Begin the calls one after the other, each until it waits for a lock; then let them go on."""

    def in_context(call: Call) -> object:
        with app.app_context():
            return call()

    def run(lock_statement: str, calls: Sequence[Call]) -> list[Future[object]]:
        with ThreadPoolExecutor(len(calls)) as pool, database.holding(lock_statement):
            futures: list[Future[object]] = []
            for call in calls:
                futures.append(pool.submit(in_context, call))
                wait_until(lambda: database.waiting() >= len(futures))
        return futures

    return run


def upload() -> str:
    """Return the URL of a whole upload of the account."""
    state = uploads.create(uploads.NewUpload(1, 10, "a.mp4", None), Quotas())
    uploads.confirm(state.id, 0, 10)
    return uploads.source_url(state.id)


def batch_of(*urls: str, callback_url: str | None = None) -> BatchSubmission:
    return BatchSubmission(1, [Submission(1, url) for url in urls], callback_url=callback_url)


def row_of(url: str) -> str:
    return f"SELECT FROM uploads WHERE id = '{uploads.upload_of(url)}' FOR UPDATE"


def outcomes(futures: Sequence[Future[object]]) -> list[type[BaseException] | None]:
    return [type(error) if (error := each.exception()) else None for each in futures]


@pytest.mark.parametrize("end", ["release", "fail"])
def test_preemption_concurrent_with_the_end_of_the_attempt(
    run_concurrently: RunConcurrently, end: str
) -> None:
    """The event of a preempted part refers to the task, which the end of an attempt locks first."""
    film = processing(9, 1)
    claim_part()
    db.session.execute(text("UPDATE parts SET status = 'done' WHERE number = 0"))
    db.session.commit()
    lease = claim_part()
    clip = processing(2, 2)
    ends: dict[str, Call] = {
        "release": lambda: leases.release(lease),
        "fail": lambda: leases.fail(lease, LOST, RetryLimits(3)),
    }
    locking_query = f"SELECT FROM tasks WHERE id = '{film}' FOR UPDATE"
    futures = run_concurrently(locking_query, [ends[end], lambda: preemption.preempt_for(clip)])
    assert outcomes(futures) == [None, None]
    assert part_of(lease).status == "waiting"


def test_concurrent_batches_of_the_same_uploads(run_concurrently: RunConcurrently) -> None:
    first, second = sorted([upload(), upload()])
    orders = [batch_of(first, second), batch_of(second, first)]
    calls = [lambda order=order: batches.create_batch(order, Quotas()) for order in orders]
    assert outcomes(run_concurrently(row_of(first), calls)) == [None, uploads.UploadUsed]


def test_batch_concurrent_with_a_task_of_the_same_upload(run_concurrently: RunConcurrently) -> None:
    """With a quota both also wait for their account's turn."""
    url = upload()
    calls: list[Call] = [
        lambda: batches.create_batch(batch_of(url), QUOTAS),
        lambda: submissions.create_task(Submission(1, url), QUOTAS),
    ]
    assert outcomes(run_concurrently(row_of(url), calls)) == [None, uploads.UploadUsed]


def test_batch_concurrent_with_a_task_creates_one_callback_secret(
    run_concurrently: RunConcurrently,
) -> None:
    """Each would create the account's callback secret if it came first."""
    url = upload()
    calls: list[Call] = [
        lambda: batches.create_batch(batch_of(url, callback_url=CALLBACK), QUOTAS),
        lambda: submissions.create_task(
            Submission(1, "http://example.com/", callback_url=CALLBACK), QUOTAS
        ),
    ]
    assert outcomes(run_concurrently(row_of(url), calls)) == [None, None]


def test_concurrent_requests_for_the_same_removals(run_concurrently: RunConcurrently) -> None:
    first, second = sorted(uuid.uuid4() for _ in range(2))
    removals.request_for([first, second])
    locking_query = f"SELECT FROM removals WHERE task_id = '{first}' FOR UPDATE"
    calls = [
        lambda order=order: removals.request_for(order)
        for order in ([first, second], [second, first])
    ]
    assert outcomes(run_concurrently(locking_query, calls)) == [None, None]


def test_positions_skip_events_of_a_task_being_deleted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_EVENTS", 1)
    task_ids = [processing(1), processing(1)]
    for lease in [claim_part() for _ in task_ids]:
        leases.release(lease)
    with database.holding(f"DELETE FROM tasks WHERE id = '{task_ids[0]}'"):
        events.trim_events()
    assert [len(events.list_events(1, task_id, 0, 9) or []) for task_id in task_ids] == [2, 1]


@pytest.fixture(params=["webhook", "callback"])
def delivery(request: pytest.FixtureRequest) -> webhooks.Delivery:
    """A delivery that a sender has claimed: of a webhook, or of a task's callback."""
    task_id = processing(1)
    of_task = {"id": task_id, "task_id": task_id} if request.param == "callback" else {}
    db.session.add(Webhook(owner_id=1, url=CALLBACK, events=["task.done"], secret=b"s", **of_task))
    db.session.commit()
    finished_part()
    claimed = webhooks.claim(30)
    assert claimed is not None
    return claimed


def delete_receiver(delivery: webhooks.Delivery) -> None:
    """Delete the webhook as its owner does, or the callback's task as the sweeper does."""
    if delivery.task_id == delivery.webhook_id:
        statement = text("DELETE FROM tasks WHERE id = :id").bindparams(id=delivery.task_id)
        db.session.execute(statement)
        db.session.commit()
    else:
        webhook_rows.delete_webhook(1, delivery.webhook_id)


@pytest.mark.parametrize("status", [200, 410, 500])
def test_webhook_deletion_concurrent_with_the_end_of_an_attempt(
    delivery: webhooks.Delivery, run_concurrently: RunConcurrently, status: int
) -> None:
    calls: list[Call] = [
        lambda: webhooks.record_attempt(delivery, webhooks.Outcome(http_status=status)),
        lambda: delete_receiver(delivery),
    ]
    locking_query = f"SELECT FROM webhook_deliveries WHERE id = '{delivery.id}' FOR UPDATE"
    assert outcomes(run_concurrently(locking_query, calls)) == [None, None]
    db.session.rollback()
    assert db.session.scalar(select(func.count()).select_from(WebhookDelivery)) == 0


def test_webhook_deletions_concurrent_with_a_test_event(run_concurrently: RunConcurrently) -> None:
    """Only one deletion finds it; a test event waits, and then finds it gone."""
    webhook_id = webhook_rows.create(1, CALLBACK, ["task.done"], b"s").id
    calls: list[Call] = [
        lambda: webhook_rows.delete_webhook(1, webhook_id),
        lambda: webhook_rows.delete_webhook(1, webhook_id),
        lambda: webhook_rows.send_test(1, webhook_id),
    ]
    locking_query = f"SELECT FROM webhooks WHERE id = '{webhook_id}' FOR UPDATE"
    gone = webhook_rows.WebhookNotFound
    assert outcomes(run_concurrently(locking_query, calls)) == [None, gone, gone]


@pytest.mark.parametrize("end", ["deletion", "410"])
def test_payloads_concurrent_with_the_end_of_their_webhook(
    run_concurrently: RunConcurrently, end: str
) -> None:
    """Without an order a statement locks rows as they are stored: here the last one first."""
    db.session.add(Webhook(owner_id=1, url=CALLBACK, events=["task.done"], secret=b"s"))
    db.session.commit()
    processing(1)
    finished_part()
    attempt = webhooks.claim(30)
    assert attempt is not None
    ids = [uuid.UUID(int=number) for number in (1, 2, 3)]
    for key in reversed(ids):
        row = {"id": key, "webhook_id": attempt.webhook_id, "event": "task.done"}
        db.session.execute(insert(WebhookDelivery).values(row))
    db.session.commit()
    ends: dict[str, Call] = {
        "deletion": lambda: webhook_rows.delete_webhook(1, attempt.webhook_id),
        "410": lambda: webhooks.record_attempt(attempt, webhooks.Outcome(http_status=410)),
    }
    calls = [lambda: unsent_events.store_payloads(dict.fromkeys(ids, "{}")), ends[end]]
    locking_query = f"SELECT FROM webhook_deliveries WHERE id = '{ids[1]}' FOR UPDATE"
    assert outcomes(run_concurrently(locking_query, calls)) == [None, None]
