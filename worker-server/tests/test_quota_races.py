"""Calls of one account that count towards a quota take turns: together they do not exceed it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import text

from idrl_testing.database import Database
from idrl_testing.waiting import wait_until
from worker_server.db import db
from worker_server.queue import leases, quotas, submissions, uploads
from worker_server.queue.quotas import Quotas
from worker_server.queue.requeueing import retry_task
from worker_server.queue.submissions import Submission
from worker_testing import SOURCE, URL, claim_task, plan, submit

pytestmark = pytest.mark.usefixtures("app")
BYTES, TASKS = Quotas(size_bytes=1000), Quotas(live_tasks=1)
Call = Callable[[], object]


def planned() -> Call:
    """Return the end of a download whose file waits for the caller's start."""
    submissions.create_task(Submission(1, URL, starts_manually=True))
    lease, source = claim_task(), {**SOURCE, "size_bytes": 600}
    return lambda: leases.begin_processing(lease, source, "source", plan(1), BYTES)


def upload() -> Call:
    return lambda: uploads.create(uploads.NewUpload(1, 600, "a.mp4", None), BYTES)


def retry() -> Call:
    task_id = submit()
    db.session.execute(text("UPDATE tasks SET status = 'failed', finished_at = now()"))
    db.session.commit()
    return lambda: retry_task(1, task_id, TASKS)


@pytest.mark.parametrize(
    ("make", "code"),
    [(planned, "quota_bytes"), (upload, "quota_bytes"), (retry, "quota_live_tasks")],
)
def test_of_two_calls_at_once_one_is_refused(
    app: Flask, database: Database, make: Callable[[], Call], code: str
) -> None:
    def in_context(call: Call) -> object:
        with app.app_context():
            return call()

    calls = [make(), make()]
    turn = f"SELECT pg_advisory_xact_lock({quotas._LOCK}, hashint8(1))"
    with ThreadPoolExecutor(2) as pool:
        with database.holding(turn):
            futures = [pool.submit(in_context, call) for call in calls]
            wait_until(lambda: database.waiting() == 2 or any(each.done() for each in futures))
            assert not any(each.done() for each in futures)
        errors = [each.exception() for each in futures]
    refused = [getattr(error, "code", error) for error in errors if error is not None]
    assert refused == [code]
