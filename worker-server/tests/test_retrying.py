"""When failed work is tried again, and what brings finished work back."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from worker_server.db import db
from worker_server.errors import WorkFailed
from worker_server.queue import cancellation, claims, leases, removals, requeueing
from worker_server.queue.claims import PartLease, TaskLease
from worker_server.queue.events import list_events
from worker_server.queue.parts import Clip, PlannedPart
from worker_server.queue.retry_policy import History, RetryLimits, pause_s
from worker_testing import (
    PATH,
    claim_part,
    claim_task,
    expire_leases,
    finish_cancel,
    needed_files,
    parts_of,
    plan,
    processing,
    submit,
    task_of,
)

pytestmark = pytest.mark.usefixtures("app")

LIMITS = RetryLimits(max_attempts=3, source_retry_s=900)
UNAVAILABLE = WorkFailed("source_unavailable", "The source answered 503.", retryable=True)
DAMAGED = WorkFailed("source_damaged", "broken")


def clip(lease: PartLease) -> Clip:
    name = f"{lease.task_id}/{lease.number}.{lease.attempt}.mp4"
    return Clip(name, 10, "ab" * 32, 660, "encode")


def pause(
    failure: WorkFailed, *, attempt: int = 1, failures: int = 1, waited_s: float = 0
) -> object:
    now = datetime.now(UTC)
    lease = TaskLease(uuid.UUID(int=1), attempt)
    history = History(failures, now - timedelta(seconds=waited_s), now)
    return pause_s(lease, failure, history, LIMITS)


@pytest.mark.parametrize(
    ("attempt", "waited_s", "expected"),
    [(1, 0, 5), (2, 5, 10), (6, 300, 120), (30, 800, 100), (31, 899.5, None), (31, 2000, None)],
)
def test_source_that_is_unavailable_is_retried_for_a_total(
    attempt: int, waited_s: float, expected: float | None
) -> None:
    assert pause(UNAVAILABLE, attempt=attempt, waited_s=waited_s) == expected


@pytest.mark.parametrize(
    ("retry_after_s", "waited_s", "expected"),
    [(60, 0, 60), (899, 0, 899), (901, 0, None), (200, 600, 200), (400, 600, None)],
)
def test_retry_after_is_obeyed_within_the_total(
    retry_after_s: float, waited_s: float, expected: float | None
) -> None:
    busy = WorkFailed("source_unavailable", "busy", retryable=True, retry_after_s=retry_after_s)
    assert pause(busy, waited_s=waited_s) == expected


def test_counted_failures_end_and_others_go_on() -> None:
    stalled = WorkFailed("encoder_stalled", "no frame", retryable=True)
    full = WorkFailed("storage_full", "full", retryable=True)
    assert [pause(stalled, failures=n) for n in (1, 2, 3)] == [5, 10, None]
    assert pause(full, attempt=1000, failures=0) == 600
    for code in ("clip_rejected", "encoder_failed", "decoder_crashed"):
        repeatable = WorkFailed(code, "again", retryable=True)
        assert [pause(repeatable, failures=n) for n in (1, 2, 3)] == [5, None, None]
    assert pause(DAMAGED) is None


def test_task_waits_for_its_source_and_then_goes_on() -> None:
    task_id = submit()
    for _ in range(5):  # more than MAX_ATTEMPTS
        expire_leases()
        leases.fail(claim_task(), UNAVAILABLE, LIMITS)
    task = task_of(task_id)
    assert (task.status, task.failures, task.error_code) == ("queued", 0, "source_unavailable")
    assert task.waiting_since is not None
    expire_leases()
    assert leases.begin_processing(claim_task(), {}, PATH, plan(1))
    task = task_of(task_id)
    assert (task.waiting_since, task.error_code) == (None, None)


def test_task_fails_when_its_source_stays_unavailable() -> None:
    task_id = submit()
    leases.fail(claim_task(), UNAVAILABLE, LIMITS)
    db.session.execute(text("UPDATE tasks SET waiting_since = now() - interval '15 minutes'"))
    expire_leases()
    leases.fail(claim_task(), UNAVAILABLE, LIMITS)
    task = task_of(task_id)
    assert (task.status, task.error_code) == ("failed", "source_unavailable")


def test_time_in_the_queue_is_no_time_that_the_source_is_unavailable() -> None:
    """The queue was long, the work was paused or the machines were off for an hour."""
    task_id = submit()
    leases.fail(claim_task(), UNAVAILABLE, LIMITS)
    columns = ("waiting_since", "run_after", "updated_at")
    earlier = ", ".join(f"{name} = {name} - interval '1 hour'" for name in columns)
    db.session.execute(text(f"UPDATE tasks SET {earlier}"))
    db.session.commit()
    leases.fail(claim_task(), UNAVAILABLE, LIMITS)
    assert task_of(task_id).status == "queued"


def test_lost_worker_is_no_source_that_is_unavailable() -> None:
    task_id = submit()
    lost = WorkFailed("worker_lost", "gone", retryable=True, retry_after_s=0)
    leases.fail(claim_task(), lost, LIMITS)
    assert task_of(task_id).waiting_since is None
    # The next attempt has downloaded for an hour when the connection breaks.
    lease = claim_task()
    db.session.execute(text("UPDATE tasks SET waiting_since = waiting_since - interval '1 hour'"))
    db.session.commit()
    leases.fail(lease, UNAVAILABLE, LIMITS)
    assert task_of(task_id).status == "queued"


def failed_task() -> PartLease:
    """A task whose first part is done and whose second one has failed; the lease of the first."""
    processing(parts=2)
    good, bad = claim_part(), claim_part()
    assert leases.finish_part(good, clip(good))
    leases.fail(bad, DAMAGED, LIMITS)
    return good


def test_retry_renders_only_what_is_missing() -> None:
    good = failed_task()
    assert requeueing.retry_task(1, good.task_id)
    assert needed_files(good.task_id) is None
    assert leases.begin_processing(claim_task(), {}, PATH, plan(2))
    again = claim_part()
    assert (again.number, again.attempt) == (1, 2)
    assert claims.claim_part("me", 30) is None
    assert leases.finish_part(again, clip(again))
    task = task_of(good.task_id)
    assert (task.status, task.error_code) == ("done", None)
    assert needed_files(good.task_id) == {"0.1.mp4", "0.1.jpg", "1.2.mp4", "1.2.jpg"}


def test_retry_of_a_source_that_changed_renders_everything() -> None:
    good = failed_task()
    assert requeueing.retry_task(1, good.task_id)
    longer = [PlannedPart(0, 0, 700, 0.0, 28.0)]
    assert leases.begin_processing(claim_task(), {}, PATH, longer)
    (part,) = parts_of(good.task_id)
    assert (part.status, part.end_frame, part.path) == ("waiting", 700, None)
    assert claim_part().attempt == 2  # no name of a file is used twice


def test_retry_gives_all_attempts_again() -> None:
    """To the download, and to the parts."""
    stalled = WorkFailed("encoder_stalled", "no frame", retryable=True)

    def fail(times: int, of_part: bool = False) -> None:
        for _ in range(times):
            expire_leases()
            leases.fail(claim_part() if of_part else claim_task(), stalled, LIMITS)

    task_id = submit()
    fail(3)
    assert requeueing.retry_task(1, task_id)
    fail(2)
    assert task_of(task_id).status == "queued"
    expire_leases()
    assert leases.begin_processing(claim_task(), {}, PATH, plan(1))
    fail(3, of_part=True)
    assert requeueing.retry_task(1, task_id)
    assert leases.begin_processing(claim_task(), {}, PATH, plan(1))
    fail(2, of_part=True)
    assert task_of(task_id).status == "processing"


def test_retry_waits_for_the_source_as_long_as_a_new_task() -> None:
    """It was unavailable when the task failed, and stays so for another moment."""
    task_id = submit()
    leases.fail(claim_task(), UNAVAILABLE, LIMITS)
    db.session.execute(text("UPDATE tasks SET waiting_since = now() - interval '15 minutes'"))
    expire_leases()
    leases.fail(claim_task(), UNAVAILABLE, LIMITS)
    assert task_of(task_id).status == "failed"
    assert requeueing.retry_task(1, task_id)
    leases.fail(claim_task(), UNAVAILABLE, LIMITS)
    assert task_of(task_id).status == "queued"


def test_only_a_failed_task_of_the_owner_can_be_retried() -> None:
    task_id = processing(parts=1)
    with pytest.raises(requeueing.NotFailed):
        requeueing.retry_task(1, task_id)
    assert not requeueing.retry_task(2, task_id)


def test_removal_from_before_a_retry_ends_no_later_cancel() -> None:
    """It has left the good clip, which the cancel's own removal takes."""
    good = failed_task()
    before = removals.begin(good.task_id)
    assert before is not None
    assert before.kept
    assert requeueing.retry_task(1, good.task_id)
    lease = claim_task()
    assert cancellation.delete_task(1, good.task_id) == "canceling"
    leases.release(lease)
    removals.finish(before, 0)
    assert task_of(good.task_id).status == "canceling"
    assert finish_cancel(good.task_id)
    assert task_of(good.task_id).status == "canceled"


def test_lost_clip_is_rendered_again_while_the_source_is_there() -> None:
    processing(parts=2)
    good = claim_part()
    assert leases.finish_part(good, clip(good))
    assert requeueing.mark_clip_lost(good.task_id, 0, clip(good).path)
    again = claim_part()
    assert (again.number, again.attempt) == (0, 2)


def test_lost_clip_fails_its_finished_task_until_a_retry() -> None:
    processing(parts=1)
    good = claim_part()
    assert leases.finish_part(good, clip(good))
    assert not requeueing.mark_clip_lost(good.task_id, 0, "another/path")
    assert task_of(good.task_id).status == "done"
    assert not requeueing.mark_clip_lost(good.task_id, 0, clip(good).path)
    task = task_of(good.task_id)
    assert (task.status, task.error_code) == ("failed", "clip_lost")
    assert requeueing.retry_task(1, good.task_id)


def _two_clips() -> list[PartLease]:
    """A finished task of two clips."""
    processing(parts=2)
    parts = [claim_part(), claim_part()]
    assert all(leases.finish_part(part, clip(part)) for part in parts)
    return parts


def test_task_fails_once_however_many_clips_are_lost() -> None:
    parts = _two_clips()
    for part in parts:
        assert not requeueing.mark_clip_lost(part.task_id, part.number, clip(part).path)
    kinds = [event.kind for event in list_events(1, parts[0].task_id, -1, 1000) or []]
    assert (kinds.count("clip_lost"), kinds.count("task_failed")) == (2, 1)


@pytest.mark.parametrize("is_claimed", [False, True])
def test_retry_continues_when_another_clip_is_found_lost(is_claimed: bool) -> None:
    first, second = _two_clips()
    assert not requeueing.mark_clip_lost(first.task_id, 0, clip(first).path)
    assert requeueing.retry_task(1, first.task_id)
    lease = claim_task() if is_claimed else None
    assert requeueing.mark_clip_lost(first.task_id, 1, clip(second).path)
    assert task_of(first.task_id).status == ("downloading" if is_claimed else "queued")
    assert leases.begin_processing(lease or claim_task(), {}, PATH, plan(2))
    again = [claim_part(), claim_part()]
    assert [(part.number, part.attempt) for part in again] == [(0, 2), (1, 2)]


def test_clip_of_a_task_that_is_being_canceled_is_gone() -> None:
    """Its files go before its row says so."""
    first, second = _two_clips()
    assert not requeueing.mark_clip_lost(first.task_id, 0, clip(first).path)
    assert requeueing.retry_task(1, first.task_id)
    lease = claim_task()
    assert cancellation.delete_task(1, first.task_id) == "canceling"
    assert not requeueing.mark_clip_lost(first.task_id, 1, clip(second).path)
    assert task_of(first.task_id).status == "canceling"
    leases.release(lease)
    assert finish_cancel(first.task_id)
    assert task_of(first.task_id).status == "canceled"
