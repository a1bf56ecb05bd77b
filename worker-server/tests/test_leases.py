"""Every change of status is one guarded step: who lost a row, or comes twice, changes nothing."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from idrl_local.pytest_plugin import Database
from worker_server import leases, services
from worker_server.db import db
from worker_server.leases import Clip, Failure, Lease
from worker_server.models import Part, Task
from worker_server.services import Submission

pytestmark = pytest.mark.usefixtures("app")

LOST = Failure("worker_lost", "gone", retryable=True)
BAD = Failure("source_damaged", "broken")
PATH = "source"


_MANY_WAITING = """
    INSERT INTO tasks (id, owner_id, url) SELECT gen_random_uuid(), n % 3, '' FROM generate_series(1, {count}) n;
    WITH films AS (
        INSERT INTO tasks (id, owner_id, url, status)
        SELECT gen_random_uuid(), n, '', 'processing' FROM generate_series(1, 3) n RETURNING id, owner_id
    ) INSERT INTO parts (task_id, number, owner_id, start_frame, end_frame, start_s, end_s)
    SELECT id, n, owner_id, 0, 1, 0, 1 FROM films CROSS JOIN generate_series(1, {count} / 3) n
"""


def _rows_of(plan: dict[str, Any]) -> Iterator[int]:
    """Yield the rows that each step of a plan gave or took away."""
    yield (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    for step in plan.get("Plans", []):
        yield from _rows_of(step)


def submit(owner_id: int = 1) -> uuid.UUID:
    task, _ = services.create_task(Submission(owner_id, "http://example.com/v.mp4"))
    return task.id


def plan(count: int) -> list[dict[str, Any]]:
    return [
        {"number": n, "start_frame": n * 600, "end_frame": n * 600 + 600, "start_s": n * 20.0, "end_s": n * 20.0 + 20}
        for n in range(count)
    ]


def claim_task() -> Lease:
    row = leases.claim_task("me", 30)
    assert row is not None
    return Lease(row.id, row.attempt)


def claim_part() -> Lease:
    row = leases.claim_part("me", 30)
    assert row is not None
    return Lease(row.task_id, row.attempt, row.number)


def processing(parts: int = 2, owner_id: int = 1) -> uuid.UUID:
    submit(owner_id)
    lease = claim_task()
    assert leases.begin_processing(lease, {"width": 16}, PATH, plan(parts))
    return lease.task_id


def clip(lease: Lease) -> Clip:
    return Clip(f"{lease.task_id}/{lease.number}.{lease.attempt}.mp4", 10, "ab" * 32, 660, "encode")


def task_of(task_id: uuid.UUID) -> Task:
    db.session.expire_all()
    task = db.session.get(Task, task_id)
    assert task is not None
    return task


def part_of(lease: Lease) -> Part:
    db.session.expire_all()
    part = db.session.get(Part, (lease.task_id, lease.number))
    assert part is not None
    return part


def run_out(lease: Lease) -> None:
    """Let the lease end, as if its holder had not renewed it."""
    table, key = ("tasks", "id") if lease.number is None else ("parts", "task_id")
    statement = text(
        f"UPDATE {table} SET lease_until = now() - interval '1 s' WHERE {key} = :id AND attempt = :attempt"
    )
    db.session.execute(statement, {"id": lease.task_id, "attempt": lease.attempt})
    db.session.commit()


def due_now() -> None:
    for table in ("tasks", "parts"):
        db.session.execute(text(f"UPDATE {table} SET run_after = now()"))
    db.session.commit()


def test_the_whole_way() -> None:
    task_id = processing(parts=2)
    first, second = claim_part(), claim_part()
    assert (first.number, second.number) == (0, 1)
    assert leases.claim_part("me", 30) is None
    assert leases.finish_part(first, clip(first))
    assert task_of(task_id).status == "processing"
    assert leases.finish_part(second, clip(second))
    assert task_of(task_id).status == "done"
    assert task_of(task_id).progress == 100
    assert leases.files_to_keep(task_id) == {"0.1.mp4", "1.1.mp4"}


def test_each_task_is_claimed_once() -> None:
    task_id = submit()
    assert claim_task().task_id == task_id
    assert leases.claim_task("other", 30) is None


def test_fifty_claims_at_once_give_each_part_to_one(app: Flask) -> None:
    processing(parts=10)

    def claim(_: int) -> int | None:
        with app.app_context():
            row = leases.claim_part("me", 30)
            return row.number if row else None

    with ThreadPoolExecutor(10) as pool:
        claimed = [number for number in pool.map(claim, range(50)) if number is not None]
    assert len(claimed) == len(set(claimed))
    while (row := leases.claim_part("me", 30)) is not None:  # whom a lock had kept away
        claimed.append(row.number)
    assert sorted(claimed) == list(range(10))


def test_the_last_two_parts_at_once_close_the_task(app: Flask) -> None:
    for _ in range(10):
        task_id = processing(parts=2)
        both = [claim_part(), claim_part()]

        def finish(lease: Lease) -> bool:
            with app.app_context():
                return leases.finish_part(lease, clip(lease))

        with ThreadPoolExecutor(2) as pool:
            assert all(pool.map(finish, both))
        assert task_of(task_id).status == "done"


def test_a_worker_that_lost_its_part_writes_nothing() -> None:
    processing(parts=1)
    asleep = claim_part()
    run_out(asleep)
    leases.fail(asleep, LOST, 3, expired_only=True)
    due_now()
    awake = claim_part()
    assert awake.attempt == asleep.attempt + 1
    assert leases.renew(asleep, 30, 50) is None
    assert not leases.finish_part(asleep, clip(asleep))
    leases.fail(asleep, BAD, 3)
    leases.release(asleep)
    assert part_of(awake).status == "rendering"
    assert leases.finish_part(awake, clip(awake))
    assert part_of(awake).path == clip(awake).path


def test_a_step_whose_answer_was_lost_can_be_repeated() -> None:
    task_id = submit()
    lease = claim_task()
    assert leases.begin_processing(lease, {}, PATH, plan(1))
    assert leases.begin_processing(lease, {}, PATH, plan(1))
    part = claim_part()
    assert leases.finish_part(part, clip(part))
    assert leases.finish_part(part, clip(part))
    assert task_of(task_id).status == "done"


def test_a_lease_that_ran_out_but_was_not_taken_is_renewed() -> None:
    processing(parts=1)
    lease = claim_part()
    run_out(lease)
    assert leases.renew(lease, 30, 40) == "processing"
    leases.fail(lease, LOST, 3, expired_only=True)
    part = part_of(lease)
    assert (part.status, part.progress, part.failures) == ("rendering", 40, 0)


def test_a_poisonous_part_fails_its_task_after_the_last_attempt() -> None:
    task_id = processing(parts=2)
    for attempt in range(1, 4):
        due_now()
        lease = claim_part()
        assert (lease.number, lease.attempt) == (0, attempt)
        run_out(lease)
        leases.fail(lease, LOST, 3, expired_only=True)
    task = task_of(task_id)
    assert (task.status, task.error_code) == ("failed", "worker_lost")
    assert [part.status for part in services.get_parts(task_id)] == ["failed", "failed"]
    assert leases.claim_part("me", 30) is None


def test_a_retryable_failure_waits_before_the_next_attempt() -> None:
    submit()
    lease = claim_task()
    leases.fail(lease, LOST, 3)
    task = task_of(lease.task_id)
    assert (task.status, task.failures) == ("queued", 1)
    assert leases.claim_task("me", 30) is None
    due_now()
    assert claim_task().attempt == 2


def test_waiting_for_space_is_no_failure() -> None:
    submit()
    for _ in range(5):
        due_now()
        lease = claim_task()
        leases.fail(lease, Failure("storage_full", "full", retryable=True, counted=False), 3)
    assert task_of(lease.task_id).status == "queued"


def test_an_error_of_the_source_is_final() -> None:
    submit()
    lease = claim_task()
    leases.fail(lease, BAD, 3)
    task = task_of(lease.task_id)
    assert (task.status, task.error_code, task.lease_until) == ("failed", "source_damaged", None)


def test_work_handed_back_is_begun_anew() -> None:
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
    assert leases.claim_task("me", 30) is None
    assert leases.files_to_keep(task_id) == set()


def test_cancel_waits_for_the_worker_to_let_go() -> None:
    task_id = processing(parts=2)
    lease = claim_part()
    assert services.delete_task(1, task_id) == "canceling"
    assert leases.renew(lease, 30, 10) == "canceling"
    assert leases.claim_part("me", 30) is None
    assert not leases.finish_cancel(task_id)
    assert not leases.finish_part(lease, clip(lease))
    leases.release(lease)
    assert leases.finish_cancel(task_id)
    assert task_of(task_id).status == "canceled"
    assert services.get_parts(task_id) == []
    assert leases.ready(10) == (0, 0)


def test_cancel_of_a_download_waits_too() -> None:
    submit()
    lease = claim_task()
    assert services.delete_task(1, lease.task_id) == "canceling"
    assert not leases.begin_processing(lease, {}, PATH, plan(1))
    assert not leases.finish_cancel(lease.task_id)
    leases.release(lease)
    assert leases.finish_cancel(lease.task_id)


def test_cancel_does_not_wait_for_a_dead_worker() -> None:
    task_id = processing(parts=1)
    lease = claim_part()
    assert services.delete_task(1, task_id) == "canceling"
    run_out(lease)
    assert leases.canceling() == [task_id]
    assert leases.finish_cancel(task_id)


def test_twenty_deletes_at_once_make_one_cancel(app: Flask) -> None:
    task_id = processing(parts=1)
    lease = claim_part()

    def delete(_: int) -> str:
        with app.app_context():
            return services.delete_task(1, task_id)

    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(delete, range(20))) == {"canceling"}
    leases.release(lease)
    assert leases.finish_cancel(task_id)


def test_a_failed_task_stops_its_other_parts() -> None:
    task_id = processing(parts=3)
    bad, good = claim_part(), claim_part()
    leases.fail(bad, BAD, 3)
    assert leases.renew(good, 30, 10) == "failed"
    assert not leases.finish_part(good, clip(good))
    leases.release(good)
    assert [part.status for part in services.get_parts(task_id)] == ["failed"] * 3


def test_owners_take_turns() -> None:
    crowd = [submit(owner_id=1) for _ in range(5)]
    single = submit(owner_id=2)
    order = [claim_task().task_id for _ in range(6)]
    assert order.index(single) <= 1
    assert set(order) == {*crowd, single}


def test_first_parts_go_first() -> None:
    film = processing(parts=5)
    claim_part()
    short = processing(parts=1)
    assert claim_part().task_id == short
    assert claim_part().task_id == film


def test_many_owners_take_turns_with_tasks() -> None:
    for owner_id in (*[1] * 20, *range(2, 12)):
        submit(owner_id)
    owners = [task_of(claim_task().task_id).owner_id for _ in range(12)]
    assert owners == [*range(1, 12), 1]


def test_many_owners_take_turns_with_parts() -> None:
    for owner_id in range(1, 6):
        processing(parts=4, owner_id=owner_id)
    owners = [part_of(claim_part()).owner_id for _ in range(20)]
    assert owners == [*range(1, 6)] * 4


def test_claims_at_once_by_many_owners_take_no_part_twice(app: Flask) -> None:
    for owner_id in range(1, 11):
        processing(parts=5, owner_id=owner_id)

    def claim_all(_: int) -> list[tuple[uuid.UUID, int]]:
        with app.app_context():
            rows = iter(lambda: leases.claim_part("me", 30), None)
            return [(row.task_id, row.number) for row in rows]

    with ThreadPoolExecutor(8) as pool:
        claimed = [part for parts in pool.map(claim_all, range(8)) for part in parts]
    assert len(claimed) == len(set(claimed)) == 50


def test_what_others_are_about_to_claim_is_passed_over() -> None:
    mine, theirs = processing(parts=3, owner_id=1), processing(parts=1, owner_id=2)
    with db.engine.connect() as other:
        other.execute(text("SELECT 1 FROM parts WHERE owner_id = 1 AND number < 2 FOR UPDATE"))
        assert claim_part() == Lease(mine, 1, 2)
        other.execute(text("SELECT 1 FROM parts WHERE owner_id = 1 FOR UPDATE"))
        assert claim_part().task_id == theirs
        assert leases.claim_part("me", 30) is None
    assert [claim_part().number, claim_part().number] == [0, 1]


def test_what_has_to_wait_is_passed_over() -> None:
    task_id = processing(parts=3)
    leases.fail(claim_part(), LOST, 3)
    assert [claim_part(), claim_part()] == [Lease(task_id, 1, 1), Lease(task_id, 1, 2)]
    assert leases.claim_part("me", 30) is None


def test_parts_of_a_task_being_canceled_are_passed_over() -> None:
    canceling, other = processing(parts=2), processing(parts=1)
    claim_part()
    assert services.delete_task(1, canceling) == "canceling"
    assert claim_part().task_id == other
    assert leases.claim_part("me", 30) is None


@pytest.mark.parametrize("claim", ["_CLAIM_TASK", "_CLAIM_PART"])
def test_a_claim_reads_no_more_rows_when_more_work_waits(database: Database, claim: str) -> None:
    def rows_read(count: int) -> int:
        database.execute("TRUNCATE tasks, parts")
        database.execute(_MANY_WAITING.format(count=count))
        database.execute("ANALYZE tasks, parts")
        explain = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {getattr(leases, claim).text}")
        ((plan,),) = db.session.scalars(explain, {"owner": "me", "lease_s": 30})
        db.session.rollback()
        return sum(_rows_of(plan["Plan"]))

    assert rows_read(6000) <= rows_read(600) < 60


def test_leases_are_not_taken_just_after_the_start_of_the_database() -> None:
    submit()
    lease = claim_task()
    run_out(lease)
    assert leases.expired(lease_s=1e9) == []
    assert leases.expired(lease_s=0) == [lease]


def test_only_what_is_due_is_counted_as_ready() -> None:
    submit()
    assert leases.ready(10) == (1, 0)
    leases.fail(claim_task(), LOST, 3)
    assert leases.ready(10) == (0, 0)
    processing(parts=3)
    assert leases.ready(10) == (0, 3)


def test_no_more_is_counted_as_ready_than_is_asked_for() -> None:
    for _ in range(3):
        submit()
    assert leases.ready(2) == (2, 0)


def test_unknown_ids_are_found() -> None:
    known, unknown = submit(), uuid.uuid4()
    assert leases.unknown([known, unknown]) == {unknown}
