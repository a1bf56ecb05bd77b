"""Each change of status is one guarded step: without its lease a worker changes nothing."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import text

from worker_server.api import services
from worker_server.db import db
from worker_server.errors import WorkFailed
from worker_server.queue import backlog, claims, events, leases, removals
from worker_server.queue.backlog import ExpiredLease
from worker_server.queue.claims import Lease, PartLease, TaskLease
from worker_server.queue.events import EventKind, record_progress
from worker_server.queue.parts import Clip
from worker_server.queue.retry_policy import RetryLimits
from worker_testing import (
    LOST,
    PATH,
    claim_part,
    claim_task,
    finish_cancel,
    needed_files,
    part_of,
    parts_of,
    plan,
    processing,
    submit,
    task_of,
)

pytestmark = pytest.mark.usefixtures("app")

BAD = WorkFailed("source_damaged", "broken")


def clip(lease: PartLease) -> Clip:
    return Clip(f"{lease.task_id}/{lease.number}.{lease.attempt}.mp4", 10, "ab" * 32, 660, "encode")


def run_out(lease: Lease) -> None:
    """Let the lease end, as if its holder had not renewed it."""
    table, key = ("tasks", "id") if isinstance(lease, TaskLease) else ("parts", "task_id")
    statement = text(
        f"UPDATE {table} SET lease_until = now() - interval '1 s'"
        f" WHERE {key} = :id AND attempt = :attempt"
    )
    db.session.execute(statement, {"id": lease.task_id, "attempt": lease.attempt})
    db.session.commit()


def due_now() -> None:
    for table in ("tasks", "parts"):
        db.session.execute(text(f"UPDATE {table} SET run_after = now()"))
    db.session.commit()


def test_task_goes_from_queued_to_done() -> None:
    task_id = processing(parts=2)
    first, second = claim_part(), claim_part()
    assert (first.number, second.number) == (0, 1)
    assert claims.claim_part("me", 30) is None
    assert leases.finish_part(first, clip(first))
    assert task_of(task_id).status == "processing"
    assert leases.finish_part(second, clip(second))
    assert task_of(task_id).status == "done"
    assert task_of(task_id).progress == 100
    assert needed_files(task_id) == {"0.1.mp4", "0.1.jpg", "1.1.mp4", "1.1.jpg"}


def test_last_two_parts_at_once_close_the_task(app: Flask) -> None:
    for _ in range(10):
        task_id = processing(parts=2)
        both = [claim_part(), claim_part()]

        def finish(lease: PartLease) -> bool:
            with app.app_context():
                return leases.finish_part(lease, clip(lease))

        with ThreadPoolExecutor(2) as pool:
            assert all(pool.map(finish, both))
        assert task_of(task_id).status == "done"


def test_worker_that_lost_its_lease_writes_nothing() -> None:
    processing(parts=1)
    asleep = claim_part()
    run_out(asleep)
    leases.fail(asleep, LOST, RetryLimits(3), expired_only=True)
    due_now()
    awake = claim_part()
    assert awake.attempt == asleep.attempt + 1
    assert leases.renew(asleep, 30, 50) is None
    assert not leases.finish_part(asleep, clip(asleep))
    leases.fail(asleep, BAD, RetryLimits(3))
    leases.release(asleep)
    assert part_of(awake).status == "rendering"
    assert leases.finish_part(awake, clip(awake))
    assert part_of(awake).path == clip(awake).path


def test_worker_that_lost_its_lease_to_a_faster_one_has_not_finished() -> None:
    """It removes its own file then; that of the other one is in use."""
    submit()
    asleep = claim_task()
    run_out(asleep)
    leases.fail(asleep, LOST, RetryLimits(3), expired_only=True)
    due_now()
    assert leases.begin_processing(claim_task(), {}, "source.2", plan(1))
    assert not leases.begin_processing(asleep, {}, "source.1", plan(1))
    asleep_part = claim_part()
    leases.release(asleep_part)
    awake = claim_part()
    assert leases.finish_part(awake, clip(awake))
    assert not leases.finish_part(asleep_part, clip(asleep_part))
    assert (task_of(asleep.task_id).source_path, part_of(awake).path) == (
        "source.2",
        clip(awake).path,
    )


def test_worker_that_lost_its_lease_is_in_no_event() -> None:
    """Its events would name the worker that has the row now."""
    processing(parts=1)
    asleep = claim_part()
    run_out(asleep)
    leases.fail(asleep, LOST, RetryLimits(3), expired_only=True)
    due_now()
    assert claims.claim_part("awake", 30)
    before = events.list_events(1, asleep.task_id, -1, 99)
    leases.release(asleep)
    record_progress(asleep, EventKind.CLAIMED)
    assert events.list_events(1, asleep.task_id, -1, 99) == before


def test_task_whose_cancel_has_ended_is_released_in_no_event() -> None:
    submit()
    asleep = claim_task()
    services.delete_task(1, asleep.task_id)
    run_out(asleep)
    assert finish_cancel(asleep.task_id)
    leases.release(asleep)
    recorded = events.list_events(1, asleep.task_id, -1, 99)
    assert recorded is not None
    assert recorded[-1].kind == "task_canceled"


def test_step_whose_answer_was_lost_can_be_repeated() -> None:
    task_id = submit()
    lease = claim_task()
    assert leases.begin_processing(lease, {}, PATH, plan(1))
    assert leases.begin_processing(lease, {}, PATH, plan(1))
    part = claim_part()
    assert leases.finish_part(part, clip(part))
    assert leases.finish_part(part, clip(part))
    assert task_of(task_id).status == "done"


def test_expired_lease_that_was_not_claimed_is_renewed() -> None:
    processing(parts=1)
    lease = claim_part()
    run_out(lease)
    assert leases.renew(lease, 30, 40) == "processing"
    leases.fail(lease, LOST, RetryLimits(3), expired_only=True)
    part = part_of(lease)
    assert (part.status, part.progress, part.failures) == ("rendering", 40, 0)


def test_part_that_loses_each_worker_fails_after_the_last_attempt() -> None:
    task_id = processing(parts=1)
    for attempt in range(1, 4):
        due_now()
        lease = claim_part()
        assert (lease.number, lease.attempt) == (0, attempt)
        run_out(lease)
        leases.fail(lease, LOST, RetryLimits(3), expired_only=True)
    task = task_of(task_id)
    assert (task.status, task.error_code) == ("failed", "worker_lost")
    assert [part.status for part in parts_of(task_id)] == ["failed"]
    assert claims.claim_part("me", 30) is None


def test_retryable_failure_waits_before_the_next_attempt() -> None:
    submit()
    lease = claim_task()
    leases.fail(lease, LOST, RetryLimits(3))
    task = task_of(lease.task_id)
    assert (task.status, task.failures) == ("queued", 1)
    assert claims.claim_task("me", 30) is None
    due_now()
    assert claim_task().attempt == 2


def test_full_storage_is_not_counted_as_a_failure() -> None:
    submit()
    for _ in range(5):
        due_now()
        lease = claim_task()
        leases.fail(
            lease, WorkFailed("storage_full", "full", retryable=True, counted=False), RetryLimits(3)
        )
    assert task_of(lease.task_id).status == "queued"


def test_source_error_is_final() -> None:
    submit()
    lease = claim_task()
    leases.fail(lease, BAD, RetryLimits(3))
    task = task_of(lease.task_id)
    assert (task.status, task.error_code, task.lease_until) == ("failed", "source_damaged", None)


def test_released_part_is_claimed_again() -> None:
    task_id = processing(parts=1)
    lease = claim_part()
    leases.release(lease)
    again = claim_part()
    assert (again.number, again.attempt) == (0, 2)
    assert part_of(again).failures == 0
    assert task_of(task_id).status == "processing"


def test_cancel_of_a_queued_task_is_at_once() -> None:
    task_id = submit()
    assert services.delete_task(1, task_id) == "canceled"
    task = task_of(task_id)
    assert task.freed_bytes == 0
    assert task.canceled_in_ms is not None
    assert claims.claim_task("me", 30) is None
    assert needed_files(task_id) == set()


def test_cancel_waits_for_the_workers_release() -> None:
    task_id = processing(parts=2)
    lease = claim_part()
    assert services.delete_task(1, task_id) == "canceling"
    assert leases.renew(lease, 30, 10) == "canceling"
    assert claims.claim_part("me", 30) is None
    assert not finish_cancel(task_id)
    assert not leases.finish_part(lease, clip(lease))
    leases.release(lease)
    assert finish_cancel(task_id)
    assert task_of(task_id).status == "canceled"
    assert parts_of(task_id) == []
    assert backlog.due_work(10) == (0, 0)


def test_cancel_of_a_task_that_no_worker_holds_waits_for_its_files() -> None:
    task_id = processing(parts=1)
    assert services.delete_task(1, task_id) == "canceling"
    assert removals.due_removals(10) == [task_id]
    job = removals.begin(task_id)
    assert job is not None
    removals.postpone(job, 5)  # a file could not be removed
    assert removals.due_removals(10) == []
    assert finish_cancel(task_id)
    task = task_of(task_id)
    assert (task.status, task.freed_bytes) == ("canceled", 12)
    assert parts_of(task_id) == []


def test_removal_requested_during_another_one_is_kept() -> None:
    """A finished task's source is being removed while its owner deletes the task."""
    task_id = processing(parts=1)
    lease = claim_part()
    assert leases.finish_part(lease, clip(lease))
    job = removals.begin(task_id)
    assert job is not None
    assert job.kept
    assert services.delete_task(1, task_id) == "deleted"
    removals.finish(job, 0)  # of the source: the clip is still there
    assert removals.due_removals(10) == [task_id]
    later = removals.begin(task_id)
    assert later is not None
    assert not later.kept
    removals.finish(later, 0)
    assert removals.due_removals(10) == []


def test_cancel_of_a_download_waits_too() -> None:
    submit()
    lease = claim_task()
    assert services.delete_task(1, lease.task_id) == "canceling"
    assert not leases.begin_processing(lease, {}, PATH, plan(1))
    assert not finish_cancel(lease.task_id)
    leases.release(lease)
    assert finish_cancel(lease.task_id)


def test_cancel_does_not_wait_for_a_dead_worker() -> None:
    task_id = processing(parts=1)
    lease = claim_part()
    assert services.delete_task(1, task_id) == "canceling"
    run_out(lease)
    assert finish_cancel(task_id)
    task = task_of(task_id)
    assert (task.status, task.freed_bytes) == ("canceled", 7)
    assert task.canceled_in_ms is not None
    assert 0 <= task.canceled_in_ms < 60_000


def test_twenty_deletes_at_once_make_one_cancel(app: Flask) -> None:
    task_id = processing(parts=1)
    lease = claim_part()

    def delete(_: int) -> str:
        with app.app_context():
            return services.delete_task(1, task_id)

    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(delete, range(20))) == {"canceling"}
    leases.release(lease)
    assert finish_cancel(task_id)


def test_failed_part_does_not_fail_the_others() -> None:
    task_id = processing(parts=3)
    bad, good = claim_part(), claim_part()
    leases.fail(bad, BAD, RetryLimits(3))
    assert task_of(task_id).status == "processing"
    assert leases.renew(good, 30, 10) == "processing"
    assert leases.finish_part(good, clip(good))
    last = claim_part()
    assert leases.finish_part(last, clip(last))
    task = task_of(task_id)
    assert (task.status, task.error_code, task.error_message) == (
        "failed",
        "source_damaged",
        "broken",
    )
    assert [part.status for part in parts_of(task_id)] == ["failed", "done", "done"]
    assert needed_files(task_id) == {"1.1.mp4", "1.1.jpg", "2.1.mp4", "2.1.jpg"}


def test_task_fails_with_its_last_part() -> None:
    task_id = processing(parts=2)
    good, bad = claim_part(), claim_part()
    assert leases.finish_part(good, clip(good))
    leases.fail(bad, BAD, RetryLimits(3))
    assert task_of(task_id).status == "failed"


def test_task_fails_with_the_reason_of_its_first_failed_part() -> None:
    """Whichever part failed first."""
    task_id = processing(parts=2)
    first, second = claim_part(), claim_part()
    leases.fail(second, WorkFailed("clip_rejected", "too short"), RetryLimits(3))
    leases.fail(first, BAD, RetryLimits(3))
    task = task_of(task_id)
    assert (task.error_code, task.error_message) == ("source_damaged", "broken")


def test_part_that_succeeds_at_last_shows_no_error() -> None:
    processing(parts=1)
    leases.fail(claim_part(), LOST, RetryLimits(3))
    due_now()
    lease = claim_part()
    assert leases.finish_part(lease, clip(lease))
    part = part_of(lease)
    assert (part.error_code, part.error_message, part.progress) == (None, None, 100)


def test_leases_are_not_reclaimed_just_after_the_start_of_the_database() -> None:
    processing(parts=1)
    submit()
    both: tuple[Lease, ...] = (claim_task(), claim_part())
    for lease in both:
        run_out(lease)
    assert backlog.expired_leases(lease_s=1e9) == []
    assert backlog.expired_leases(lease_s=0) == [ExpiredLease(lease, "me") for lease in both]


def test_only_due_work_is_counted() -> None:
    submit()
    assert backlog.due_work(10) == (1, 0)
    leases.fail(claim_task(), LOST, RetryLimits(3))
    assert backlog.due_work(10) == (0, 0)
    processing(parts=3)
    assert backlog.due_work(10) == (0, 3)


def test_due_work_is_counted_up_to_the_limit() -> None:
    for _ in range(3):
        submit()
    assert backlog.due_work(2) == (2, 0)


def test_unknown_ids_are_found() -> None:
    known, unknown = submit(), uuid.uuid4()
    assert backlog.unknown_ids([known, unknown]) == {unknown}
