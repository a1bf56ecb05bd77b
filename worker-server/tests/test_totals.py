"""Totals in `/metrics`: counted with what they count, folded by the sweeper, never lost."""

import contextlib
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from fetching_testing import Exchange, Site
from flask import Flask
from flask.testing import FlaskClient

from idrl_testing.database import Database
from idrl_testing.waiting import wait_until
from worker_server.api import services
from worker_server.db import db
from worker_server.errors import WorkFailed
from worker_server.jobs import sweep
from worker_server.jobs.fetch import fetch_next
from worker_server.jobs.runtime import Runtime
from worker_server.queue import (
    cancellation,
    events,
    leases,
    planning,
    requeueing,
    submissions,
    totals,
)
from worker_server.queue.parts import Clip
from worker_server.queue.retry_policy import RetryLimits
from worker_server.queue.submissions import Submission
from worker_server.settings import Settings
from worker_testing import (
    LOST,
    URL,
    claim_part,
    claim_task,
    expire_leases,
    finish_cancel,
    plan,
    post,
    processing,
    submit,
    task_of,
)

Auth = Callable[..., dict[str, str]]
# A test of what is counted needs the app in its context.
pytestmark = pytest.mark.usefixtures("long_status_timeouts", "app")
ONCE = RetryLimits(1)
REFUSED = WorkFailed("source_not_a_video", "no", retryable=False)


@pytest.fixture(autouse=True)
def no_totals(database: Database) -> None:
    """What other tests counted is gone."""
    database.execute("DELETE FROM metric_increments")
    database.execute("DELETE FROM metric_totals")


def value(client: FlaskClient, sample: str) -> float | None:
    """Return a sample of /metrics by its name and labels; None where there is none."""
    text = client.get("/metrics").data.decode()
    sample_match = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
    return float(sample_match[1]) if sample_match else None


def finish(number: int = 0) -> None:
    lease = claim_part()
    clip = Clip(f"{lease.task_id}/{number}.mp4", 10, "0" * 64, 600, "encode")
    assert leases.finish_part(lease, clip)


def test_tasks_are_counted_by_how_they_end(client: FlaskClient) -> None:
    processing(parts=1)
    finish()  # done
    submit()
    assert leases.fail(claim_task(), REFUSED, ONCE)
    task_id = submit()
    cancellation.delete_task(1, task_id)
    ended = 'idrl_tasks_total{code="%s",status="%s"}'
    assert value(client, ended % ("", "done")) == 1
    assert value(client, ended % ("source_not_a_video", "failed")) == 1
    assert value(client, ended % ("", "canceled")) == 1
    processing(parts=1)
    assert leases.fail(claim_part(), LOST, ONCE)
    assert value(client, ended % ("worker_lost", "failed")) == 1


def test_parts_are_counted_with_their_speed_and_the_first_ones_wait(
    client: FlaskClient, database: Database
) -> None:
    task_id = processing(parts=3)
    database.execute(
        f"UPDATE tasks SET created_at = now() - interval '70 s' WHERE id = '{task_id}'"
    )
    for number in range(3):
        lease = claim_part()
        # A part of 20 s that took 100 s.
        database.execute(
            "INSERT INTO task_events (task_id, kind, part, attempt, at) VALUES"
            f" ('{task_id}', 'claimed', {lease.number}, {lease.attempt}, now() - interval '100 s')"
        )
        if number == 2:
            assert leases.fail(lease, LOST, ONCE)
        else:
            clip = Clip(f"{task_id}/{number}.mp4", 10, "0" * 64, 600, "copy")
            assert leases.finish_part(lease, clip)
    counted = 'idrl_parts_total{quality="balanced",rendered_by="%s",status="%s"}'
    assert value(client, counted % ("copy", "done")) == 2
    assert value(client, counted % ("", "failed")) == 1
    speed = 'idrl_render_speed_ratio_%s{%srendered_by="copy"}'
    assert value(client, speed % ("bucket", 'le="0.1",')) == 0
    assert value(client, speed % ("bucket", 'le="0.25",')) == 2
    assert value(client, speed % ("bucket", 'le="+Inf",')) == 2
    # Twice 20 s in 100 s or a little more.
    assert 0.3 < (value(client, speed % ("sum", "")) or 0) <= 0.4
    assert value(client, "idrl_first_part_wait_seconds_count") == 1
    assert 70 <= (value(client, "idrl_first_part_wait_seconds_sum") or 0) < 120
    assert value(client, 'idrl_first_part_wait_seconds_bucket{le="60.0"}') == 0
    assert value(client, 'idrl_first_part_wait_seconds_bucket{le="120.0"}') == 1


def test_attempts_that_are_repeated_are_counted_by_their_fault(client: FlaskClient) -> None:
    """A fault that ends no task, and that other work hides, is seen nowhere else."""
    bug = WorkFailed("internal_error", "no", retryable=True)
    processing(parts=1)
    assert leases.fail(claim_part(), LOST, RetryLimits(3))
    for _ in range(2):
        submit()
        assert leases.fail(claim_task(), bug, ONCE)
    assert value(client, 'idrl_retries_total{code="internal_error"}') == 2
    assert value(client, 'idrl_retries_total{code="worker_lost"}') == 1
    assert value(client, 'idrl_retries_total{code="storage_full"}') == 0


def test_retry_is_not_counted_as_first_wait(client: FlaskClient) -> None:
    task_id = processing(parts=1)
    assert leases.fail(claim_part(), LOST, ONCE)
    assert requeueing.retry_task(1, task_id)
    assert leases.begin_processing(claim_task(), {"width": 16}, "source", plan(1))
    finish()
    assert value(client, "idrl_first_part_wait_seconds_count") is None


def test_planned_task_waits_for_its_first_clip_since_it_was_started(
    client: FlaskClient, database: Database
) -> None:
    """Its caller took an hour to look at the plan: no machine that is added would change that."""
    task_id = submissions.create_task(Submission(1, URL, starts_manually=True))[0].id
    assert leases.begin_processing(claim_task(), {"width": 16}, "source", plan(1))
    database.execute("UPDATE tasks SET created_at = now() - interval '1 h'")
    assert planning.start_task(1, task_id) == 1
    finish()
    assert value(client, "idrl_first_part_wait_seconds_count") == 1
    assert (value(client, "idrl_first_part_wait_seconds_sum") or 0) < 1800


def test_an_expired_lease_is_counted_once(client: FlaskClient) -> None:
    assert value(client, "idrl_leases_expired_total") == 0
    processing(parts=1)
    lease = claim_part()
    expire_leases()
    assert leases.fail(lease, LOST, RetryLimits(3), expired_only=True)
    assert not leases.fail(lease, LOST, RetryLimits(3), expired_only=True)
    assert value(client, "idrl_leases_expired_total") == 1
    assert value(client, "idrl_preemptions_total") == 0


def test_a_transaction_that_is_rolled_back_counts_nothing(client: FlaskClient) -> None:
    processing(parts=1)
    lease = claim_part()
    clip = Clip(f"{lease.task_id}/0.mp4", 10, "0" * 64, 600, "encode")
    assert leases.finish_part(lease, clip)
    assert leases.finish_part(lease, clip)  # its answer was lost, and the step is repeated
    assert value(client, 'idrl_tasks_total{code="",status="done"}') == 1


def test_folding_changes_no_total_while_others_count(
    app: Flask, client: FlaskClient, settings: Settings, database: Database
) -> None:
    def count(_: int) -> None:
        with app.app_context():
            totals.add_bytes("in", 5)
            db.session.remove()

    with ThreadPoolExecutor(4) as pool:
        counting = pool.map(count, range(200))
        for _ in range(20):
            sweep.fold_totals(settings)
        list(counting)
    assert value(client, 'idrl_bytes_total{direction="in"}') == 1000
    sweep.fold_totals(settings)
    assert database.execute("SELECT count(*) FROM metric_increments") == [(0,)]
    assert value(client, 'idrl_bytes_total{direction="in"}') == 1000


def test_bytes_of_clips_are_counted(
    client: FlaskClient, auth: Auth, finished: tuple[str, bytes]
) -> None:
    task_id, content = finished
    path = f"/tasks/{task_id}/parts/0"
    with client.get(path, headers=auth()) as whole:
        assert whole.data == content
    with client.get(path, headers={**auth(), "Range": "bytes=0-99"}) as begin:
        assert begin.status_code == 206
    assert client.head(path, headers=auth()).status_code == 200
    wanted = len(content) + 100
    wait_until(lambda: value(client, 'idrl_bytes_total{direction="out"}') == wanted)


def test_queue_length_equals_its_deprecated_metric(client: FlaskClient, auth: Auth) -> None:
    post(client, auth())
    assert value(client, 'idrl_queue_length{kind="fetch",status="queued"}') == 1
    assert value(client, 'idrl_work{kind="task",status="queued"}') == 1
    for store in ("postgres", "redis"):
        uptime_s = value(client, f'idrl_store_uptime_seconds{{store="{store}"}}')
        assert uptime_s is not None
        assert 0 < uptime_s < time.monotonic()


def test_parts_are_counted_by_the_tasks_quality(client: FlaskClient, database: Database) -> None:
    for edit in ('\'{"quality": "small"}\'', "NULL"):  # NULL: accepted before tasks had an edit
        task_id = processing(parts=1)
        database.execute(f"UPDATE tasks SET edit = {edit} WHERE id = '{task_id}'")
        finish()
    processing(parts=1)
    assert leases.fail(claim_part(), LOST, ONCE)
    counted = 'idrl_parts_total{quality="%s",rendered_by="%s",status="%s"}'
    assert value(client, counted % ("small", "encode", "done")) == 1
    assert value(client, counted % ("balanced", "encode", "done")) == 1
    assert value(client, counted % ("balanced", "", "failed")) == 1


@pytest.mark.usefixtures("no_wakeups")
def test_bytes_of_a_broken_download_are_counted(
    settings: Settings, runtime: Runtime, database: Database
) -> None:
    """It is started over once, as the site sends no validator, and leaves no file."""

    def breaks(exchange: Exchange) -> None:
        exchange.head(Content_Length=200_000)
        exchange.send(bytes(100_000))

    with contextlib.closing(Site()) as site:
        gone = lambda exchange: exchange.reply(b"", 404)  # noqa: E731 # one line
        submit(site.on("/v.mp4", breaks, breaks, gone))
        allowed = settings.model_copy(update={"fetch_allow_hosts": frozenset({site.address})})
        assert fetch_next(allowed, runtime)
    query = "SELECT sum(amount) FROM metric_increments WHERE metric = 'idrl_bytes_total'"
    [(counted,)] = database.execute(query)
    assert counted == 200_000


def test_time_is_not_negative_where_the_clock_was_set_back(
    client: FlaskClient, database: Database
) -> None:
    """By more than 24 days: as negative milliseconds, such a time is no 32-bit integer."""
    processing(parts=1)
    lease = claim_part()
    events.record_progress(lease, events.EventKind.CLAIMED)
    canceled = processing(parts=1, owner_id=2)
    assert services.delete_task(2, canceled) == "canceling"
    database.execute("UPDATE task_events SET at = at + interval '30 days'")
    database.execute(
        "UPDATE tasks SET created_at = created_at + interval '30 days',"
        " cancel_requested_at = cancel_requested_at + interval '30 days'"
    )
    clip = Clip(f"{lease.task_id}/0.mp4", 10, "0" * 64, 600, "encode")
    assert leases.finish_part(lease, clip)
    assert finish_cancel(canceled)
    assert task_of(canceled).canceled_in_ms == 0
    assert value(client, "idrl_first_part_wait_seconds_sum") == 0
    assert value(client, 'idrl_render_speed_ratio_sum{rendered_by="encode"}') is None
