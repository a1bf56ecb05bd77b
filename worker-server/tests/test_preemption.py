"""Preemption of parts and downloads: rarely, once, never at the cost of an owner with less."""

import uuid

import pytest
from sqlalchemy import text

import worker_testing
from idrl_testing.waiting import LIMIT_S
from worker_server.api import services
from worker_server.db import db
from worker_server.queue import claims, leases, pauses, preemption
from worker_server.queue.claims import Kind, PartLease, TaskLease
from worker_server.queue.preemption import preempt_download, preempt_for, preempt_render
from worker_testing import claim_task, part_of, processing, submit, task_of

pytestmark = pytest.mark.usefixtures("app")
LONG, SHORT = 1, 2  # the owners


@pytest.fixture(autouse=True)
def _long_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine seconds may pass between two steps of a test."""
    monkeypatch.setattr(preemption, "_WAITED_S", LIMIT_S)


def claim_part(progress: int) -> PartLease:
    """Take the next part and bring it this far."""
    lease = worker_testing.claim_part()
    assert leases.renew(lease, 30, progress) == "processing"
    return lease


@pytest.fixture
def long_video() -> list[PartLease]:
    """Two renders of a long video: its second part at 50 %, its third just begun; more wait."""
    processing(9, LONG)
    claim_part(100)
    db.session.execute(text("UPDATE parts SET status = 'done' WHERE number = 0"))
    db.session.commit()
    return [claim_part(50), claim_part(10)]


def test_part_with_the_least_progress_is_preempted(long_video: list[PartLease]) -> None:
    clip = processing(2, SHORT)
    assert preempt_for(clip)
    assert [part_of(lease).status for lease in long_video] == ["rendering", "waiting"]
    assert leases.renew(long_video[1], 30, 11) is None
    row = claims.claim_part("me", 30)
    assert row is not None
    assert (row.lease.task_id, row.lease.number) == (clip, 0)


def test_no_part_is_preempted_while_a_render_is_nearly_done(long_video: list[PartLease]) -> None:
    assert leases.renew(long_video[0], 30, 60)
    assert not preempt_for(processing(2, SHORT))


def test_part_of_a_dead_worker_does_not_count_as_nearly_done(long_video: list[PartLease]) -> None:
    assert leases.renew(long_video[0], 30, 60)
    db.session.execute(
        text("UPDATE parts SET lease_until = now() - interval '1 s' WHERE number = 1")
    )
    db.session.commit()
    assert preempt_for(processing(2, SHORT))
    assert [part_of(lease).status for lease in long_video] == ["rendering", "waiting"]


def test_part_is_not_preempted_twice(long_video: list[PartLease]) -> None:
    for lease in long_video:
        db.session.execute(
            text("UPDATE parts SET attempt = 2 WHERE number = :number"), {"number": lease.number}
        )
    db.session.commit()
    assert not preempt_for(processing(2, SHORT))


@pytest.mark.usefixtures("app", "long_video")
@pytest.mark.parametrize("waits_not", ["status = 'done'", "run_after = now() + interval '1 h'"])
def test_no_part_is_preempted_while_render_slots_are_idle(waits_not: str) -> None:
    db.session.execute(text(f"UPDATE parts SET {waits_not} WHERE status = 'waiting'"))
    db.session.commit()
    assert not preempt_for(processing(2, SHORT))


def test_first_parts_are_not_preempted() -> None:
    for owner_id in (3, 4, 5):
        processing(1, owner_id)
    claim_part(0)
    claim_part(0)
    assert not preempt_for(processing(1, SHORT))


def test_owner_with_a_rendering_part_preempts_no_other_owner(long_video: list[PartLease]) -> None:
    earlier = processing(2, SHORT)
    assert claim_part(0).task_id == earlier
    assert not preempt_for(processing(2, SHORT))
    assert [part_of(lease).status for lease in long_video] == ["rendering", "rendering"]


@pytest.mark.usefixtures("app", "long_video")
def test_owner_preempts_the_same_owners_long_task() -> None:
    clip = processing(2, LONG)
    assert preempt_for(clip)
    row = claims.claim_part("me", 30)
    assert row is not None
    assert (row.lease.task_id, row.lease.number) == (clip, 0)


@pytest.mark.usefixtures("app", "long_video")
def test_canceled_task_preempts_nothing() -> None:
    clip = processing(2, SHORT)
    assert services.delete_task(SHORT, clip) == "canceling"
    assert not preempt_for(clip)


@pytest.mark.usefixtures("app", "long_video")
def test_task_whose_first_part_is_claimed_preempts_nothing() -> None:
    clip = processing(2, SHORT)
    assert claim_part(0).task_id == clip
    assert not preempt_for(clip)


def test_no_part_is_preempted_while_renders_are_paused(long_video: list[PartLease]) -> None:
    pauses.pause(Kind.RENDER)
    assert not preempt_for(processing(2, SHORT))
    part_waits(3)
    assert preempt_render() is None
    assert [part_of(lease).status for lease in long_video] == ["rendering", "rendering"]
    pauses.resume(Kind.RENDER)
    assert preempt_render() is not None


def downloads(owner_id: int, count: int) -> list[TaskLease]:
    for _ in range(count):
        submit(owner_id=owner_id)
    return [claim_task() for _ in range(count)]


def waits(owner_id: int) -> uuid.UUID:
    """A task that has been due for a while."""
    task_id = submit(owner_id=owner_id)
    old = "UPDATE tasks SET run_after = now() - interval '1 h', created_at = now() - interval '1 h'"
    db.session.execute(text(f"{old} WHERE id = :id"), {"id": task_id})
    db.session.commit()
    return task_id


def test_owner_keeps_half_of_the_downloads_while_another_waits() -> None:
    downloads(LONG, 4)
    waiting = waits(SHORT)
    first = preempt_download()
    assert first is not None
    assert task_of(first.task_id).status == "queued"
    assert leases.renew(first, 30, 1) is None
    assert claim_task().task_id == waiting
    waits(SHORT)
    assert preempt_download() is not None  # three of four
    claim_task()
    waits(SHORT)
    assert preempt_download() is None  # two of four


def test_download_with_the_least_progress_is_preempted_and_pauses() -> None:
    leased = downloads(LONG, 3)
    for lease, progress in zip(leased, (40, 5, 60), strict=True):
        assert leases.renew(lease, 30, progress)
    waiting = waits(SHORT)
    assert preempt_download() == leased[1]
    assert claim_task().task_id == waiting
    assert claims.claim_task("me", 30) is None  # else it takes the next free slot and is preempted


def test_downloads_are_not_preempted_while_no_other_owner_waits() -> None:
    downloads(LONG, 4)
    waits(LONG)
    assert preempt_download() is None
    task_id = submit(owner_id=SHORT)  # has just come: a free slot would take it
    assert preempt_download() is None
    be_retried_later("tasks", "id", task_id)
    assert preempt_download() is None


def be_retried_later(table: str, column: str, task_id: uuid.UUID) -> None:
    """Let the task, or its parts, be an hour old, and not be due before another hour."""
    values = "created_at = now() - interval '1 h', run_after = now() + interval '1 h'"
    db.session.execute(text(f"UPDATE {table} SET {values} WHERE {column} = :id"), {"id": task_id})
    db.session.commit()


@pytest.mark.parametrize("table", ["tasks", "parts"])
def test_lease_of_a_dead_worker_is_no_share_of_its_owner(table: str) -> None:
    """The sweeper takes it back soon; what is left is a single download or render."""
    if table == "tasks":
        downloads(LONG, 2)
        waits(SHORT)
    else:
        processing(9, LONG)
        claim_part(0)
        claim_part(0)
        part_waits(SHORT)
    dead = f"SELECT ctid FROM {table} WHERE lease_until IS NOT NULL LIMIT 1"
    expired = f"UPDATE {table} SET lease_until = now() - interval '1 s' WHERE ctid = ({dead})"
    db.session.execute(text(expired))
    db.session.commit()
    assert (preempt_download(), preempt_render()) == (None, None)


def test_no_download_is_preempted_while_downloads_are_paused() -> None:
    downloads(LONG, 4)
    waits(SHORT)
    pauses.pause(Kind.FETCH)
    assert preempt_download() is None
    pauses.resume(Kind.FETCH)
    pauses.pause(Kind.RENDER)
    assert preempt_download() is not None


def test_single_download_is_not_preempted() -> None:
    downloads(LONG, 1)
    waits(SHORT)
    assert preempt_download() is None


def part_waits(owner_id: int) -> uuid.UUID:
    """A task whose only part has been due for a while."""
    task_id = processing(1, owner_id)
    old = "UPDATE parts SET run_after = now() - interval '1 h', created_at = now() - interval '1 h'"
    db.session.execute(text(f"{old} WHERE task_id = :id"), {"id": task_id})
    db.session.commit()
    return task_id


def test_owner_keeps_half_of_the_renders_while_another_has_none() -> None:
    processing(9, LONG)
    renders = [claim_part(progress) for progress in (50, 40, 30, 20)]
    waiting = part_waits(SHORT)
    assert preempt_render() == renders[3]
    assert leases.renew(renders[3], 30, 21) is None
    assert claim_part(0).task_id == waiting
    part_waits(SHORT)
    assert preempt_render() is None  # the other owner holds a lease


def test_renders_are_not_preempted_while_no_other_owner_waits() -> None:
    processing(9, LONG)
    claim_part(0)
    claim_part(0)
    assert preempt_render() is None
    task_id = processing(1, SHORT)  # has just come: a free slot would take it
    assert preempt_render() is None
    be_retried_later("parts", "task_id", task_id)
    assert preempt_render() is None


def test_render_is_not_preempted_while_one_is_nearly_done() -> None:
    processing(9, LONG)
    claim_part(60)
    claim_part(0)
    part_waits(SHORT)
    assert preempt_render() is None


@pytest.mark.parametrize(("attempt", "is_preempted"), [(3, True), (4, False)])
def test_preemption_of_a_part_ends(attempt: int, is_preempted: bool) -> None:
    processing(9, LONG)
    claim_part(0)
    claim_part(0)
    part_waits(SHORT)
    claimed = f"UPDATE parts SET attempt = {attempt} WHERE status = 'rendering'"
    db.session.execute(text(claimed))
    db.session.commit()
    assert (preempt_render() is not None) is is_preempted


def test_free_slot_goes_to_the_owner_who_holds_fewer_renders() -> None:
    processing(9, LONG)
    processing(9, SHORT)
    claimed = [claim_part(0) for _ in range(3)]
    ended = [lease for lease in claimed if part_of(lease).owner_id == SHORT] or claimed[:1]
    owner_id = part_of(ended[0]).owner_id
    db.session.execute(
        text("UPDATE parts SET status = 'done' WHERE owner_id = :owner AND status = 'rendering'"),
        {"owner": owner_id},
    )
    # More starts than the other owner's, and none held.
    db.session.execute(
        text("UPDATE parts SET started_at = now() WHERE owner_id = :owner"), {"owner": owner_id}
    )
    db.session.commit()
    assert part_of(claim_part(0)).owner_id == owner_id
