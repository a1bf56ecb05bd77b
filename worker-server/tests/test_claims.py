"""Who gets the next work: one worker each, owners take turns, and a claim stays cheap."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from idrl_testing.database import Database
from worker_server.api import services
from worker_server.db import db
from worker_server.queue import claims, leases
from worker_server.queue.claims import PartLease
from worker_server.queue.parts import Clip
from worker_server.queue.retry_policy import RetryLimits
from worker_testing import (
    LOST,
    SOURCE,
    claim_part,
    claim_task,
    expire_leases,
    finished_part,
    part_of,
    plan,
    processing,
    rows_of,
    submit,
    task_of,
)

pytestmark = pytest.mark.usefixtures("app")

_MANY_WAITING = """
    INSERT INTO tasks (id, owner_id, url)
    SELECT gen_random_uuid(), n % 3, '' FROM generate_series(1, {count}) n;
    WITH long_tasks AS (
        INSERT INTO tasks (id, owner_id, url, status)
        SELECT gen_random_uuid(), n, '', 'processing' FROM generate_series(1, 3) n
        RETURNING id, owner_id
    ) INSERT INTO parts (task_id, number, owner_id, start_frame, end_frame, start_s, end_s)
    SELECT id, n, owner_id, 0, 1, 0, 1 FROM long_tasks CROSS JOIN generate_series(1, {count} / 3) n
"""


def test_each_task_is_claimed_once() -> None:
    task_id = submit()
    assert claim_task().task_id == task_id
    assert claims.claim_task("other", 30) is None


def test_worker_whose_claim_a_failover_undid_writes_nothing(database: Database) -> None:
    """The next worker has the same attempt: the new primary never got the claim."""
    undo = " SET attempt = attempt - 1, lease_owner = NULL, lease_until = NULL, status = "
    submit()
    undone = claims.claim_task("first", 30)
    database.execute(f"UPDATE tasks {undo} 'queued'")
    claimed = claims.claim_task("second", 30)
    assert undone is not None
    assert claimed is not None
    assert undone.lease == claimed.lease
    assert leases.leased_task_status(undone.lease) is None
    assert leases.renew(undone.lease, 30, 50) is None
    assert not leases.fail(undone.lease, LOST, RetryLimits(1))
    leases.release(undone.lease)
    assert not leases.begin_processing(undone.lease, SOURCE, "source.1", plan(2))
    assert leases.begin_processing(claimed.lease, SOURCE, "source.1", plan(1))
    undone_part = claims.claim_part("first", 30)
    database.execute(f"UPDATE parts {undo} 'waiting'")
    claimed_part = claims.claim_part("second", 30)
    assert undone_part is not None
    assert claimed_part is not None
    assert undone_part.lease == claimed_part.lease
    assert leases.renew(undone_part.lease, 30, 50) is None
    assert not leases.finish_part(undone_part.lease, Clip("0.1.mp4", 7, "0" * 64, 600, "encode"))
    assert leases.finish_part(claimed_part.lease, Clip("0.1.mp4", 8, "1" * 64, 600, "encode"))
    assert part_of(claimed_part.lease).size_bytes == 8


def test_fifty_claims_at_once_give_each_part_to_one(app: Flask) -> None:
    processing(parts=10)

    def claim(_: int) -> int | None:
        with app.app_context():
            row = claims.claim_part("me", 30)
            return row.lease.number if row else None

    with ThreadPoolExecutor(10) as pool:
        claimed = [number for number in pool.map(claim, range(50)) if number is not None]
    assert len(claimed) == len(set(claimed))
    while (row := claims.claim_part("me", 30)) is not None:  # their part was locked
        claimed.append(row.lease.number)
    assert sorted(claimed) == list(range(10))


def test_owners_take_turns() -> None:
    crowd = [submit(owner_id=1) for _ in range(5)]
    single = submit(owner_id=2)
    order = [claim_task().task_id for _ in range(6)]
    assert order.index(single) <= 1
    assert set(order) == {*crowd, single}


def test_first_parts_go_first() -> None:
    long_task = processing(parts=5)
    claim_part()
    short = processing(parts=1)
    assert claim_part().task_id == short
    assert claim_part().task_id == long_task


def test_many_owners_take_turns_with_tasks() -> None:
    for owner_id in (*[1] * 20, *range(2, 12)):
        submit(owner_id=owner_id)
    owners = [task_of(claim_task().task_id).owner_id for _ in range(12)]
    assert owners == [*range(1, 12), 1]


def test_many_owners_take_turns_with_parts() -> None:
    for owner_id in range(1, 6):
        processing(parts=4, owner_id=owner_id)
    owners = [part_of(claim_part()).owner_id for _ in range(20)]
    assert owners == [*range(1, 6)] * 4


def test_owner_with_fewer_recent_downloads_goes_first() -> None:
    """Neither has a download now, and the other one's task is older."""
    processing(owner_id=1)
    submit(owner_id=1)
    newer = submit(owner_id=2)
    assert claim_task().task_id == newer


def test_owner_with_fewer_recent_renders_goes_first() -> None:
    processing(parts=1, owner_id=1)
    finished_part()
    processing(parts=1, owner_id=1)
    newer = processing(parts=1, owner_id=2)
    assert claim_part().task_id == newer


def test_oldest_task_goes_first_where_owners_have_had_as_much() -> None:
    older = submit(owner_id=2)
    submit(owner_id=1)
    assert claim_task().task_id == older


def test_leases_of_dead_workers_do_not_count_against_their_owner() -> None:
    """Until the sweeper takes them back; both owners have claimed once."""
    submit(owner_id=1)
    submit(owner_id=2)
    claim_task()
    expire_leases()
    claim_task()
    submit(owner_id=2)
    newer = submit(owner_id=1)
    assert claim_task().task_id == newer


def test_claims_at_once_by_many_owners_take_no_part_twice(app: Flask) -> None:
    for owner_id in range(1, 11):
        processing(parts=5, owner_id=owner_id)

    def claim_all(_: int) -> list[tuple[uuid.UUID, int]]:
        with app.app_context():
            rows = iter(lambda: claims.claim_part("me", 30), None)
            return [(row.lease.task_id, row.lease.number) for row in rows]

    with ThreadPoolExecutor(8) as pool:
        claimed = [part for parts in pool.map(claim_all, range(8)) for part in parts]
    assert len(claimed) == len(set(claimed)) == 50


def test_locked_parts_are_skipped() -> None:
    own, others = processing(parts=3, owner_id=1), processing(parts=1, owner_id=2)
    with db.engine.connect() as other:
        other.execute(text("SELECT 1 FROM parts WHERE owner_id = 1 AND number < 2 FOR UPDATE"))
        assert claim_part() == PartLease(own, 1, 2)
        other.execute(text("SELECT 1 FROM parts WHERE owner_id = 1 FOR UPDATE"))
        assert claim_part().task_id == others
        assert claims.claim_part("me", 30) is None
    assert [claim_part().number, claim_part().number] == [0, 1]


def test_locked_tasks_are_skipped() -> None:
    """By a claim under way: no task is given to two workers."""
    first, second, others = submit(owner_id=1), submit(owner_id=1), submit(owner_id=2)
    with db.engine.connect() as other:
        other.execute(text(f"SELECT 1 FROM tasks WHERE id = '{first}' FOR UPDATE"))
        assert claim_task().task_id == second
        assert claim_task().task_id == others
        assert claims.claim_task("me", 30) is None
    assert claim_task().task_id == first


def test_tasks_that_are_not_due_are_skipped() -> None:
    waits, due = submit(), submit()
    leases.fail(claim_task(), LOST, RetryLimits(3))
    assert claim_task().task_id == due
    assert claims.claim_task("me", 30) is None
    assert task_of(waits).status == "queued"


def test_parts_that_are_not_due_are_skipped() -> None:
    task_id = processing(parts=3)
    leases.fail(claim_part(), LOST, RetryLimits(3))
    assert [claim_part(), claim_part()] == [PartLease(task_id, 1, 1), PartLease(task_id, 1, 2)]
    assert claims.claim_part("me", 30) is None


def test_parts_of_a_canceling_task_are_skipped() -> None:
    canceling, other = processing(parts=2), processing(parts=1)
    claim_part()
    assert services.delete_task(1, canceling) == "canceling"
    assert claim_part().task_id == other
    assert claims.claim_part("me", 30) is None


@pytest.mark.parametrize("claim", ["_CLAIM_TASK", "_CLAIM_PART"])
def test_a_claim_reads_no_more_rows_when_more_work_waits(database: Database, claim: str) -> None:
    def rows_read(count: int) -> int:
        database.execute("TRUNCATE tasks, parts CASCADE")
        database.execute(_MANY_WAITING.format(count=count))
        database.execute("ANALYZE tasks, parts")
        explain = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {getattr(claims, claim).text}")
        ((plan,),) = db.session.scalars(explain, {"worker": "me", "lease_s": 30, "max_side": None})
        db.session.rollback()
        return sum(rows_of(plan["Plan"]))

    assert rows_read(6000) <= rows_read(600) < 60


def _live_parts_of_claim() -> int:
    """Return how many parts there were to render when one was claimed."""
    claim = claims.claim_part("me", 30)
    assert claim is not None
    return claim.live_parts


def test_claim_counts_parts_that_wait_or_are_rendered() -> None:
    processing(parts=3)
    submit(owner_id=2)  # has no parts yet
    assert [_live_parts_of_claim(), _live_parts_of_claim()] == [3, 3]
    processing(parts=1, owner_id=2)
    assert _live_parts_of_claim() == 4


def test_parts_that_ended_are_not_counted() -> None:
    processing(parts=3)
    finished_part()
    leases.fail(claim_part(), LOST, RetryLimits(1))
    assert _live_parts_of_claim() == 1


def test_part_that_is_tried_again_counts_once() -> None:
    processing(parts=1)
    leases.fail(claim_part(), LOST, RetryLimits(3))
    expire_leases()
    assert _live_parts_of_claim() == 1


def test_many_parts_are_not_all_counted() -> None:
    processing(parts=40)
    assert [_live_parts_of_claim(), _live_parts_of_claim()] == [8, 9]


@pytest.mark.parametrize("path", ["/tasks", "/batches"])
def test_claims_carry_the_ids_of_their_request(
    client: FlaskClient, auth: Callable[..., dict[str, str]], path: str
) -> None:
    ids = ("caller-chose-this", f"00-{'a' * 32}-{'b' * 16}-01")
    headers = {**auth(), "X-Request-Id": ids[0], "traceparent": ids[1]}
    body = {"url": "http://example.com/v.mp4"}
    body_of_path = body if path == "/tasks" else {"items": [body]}
    assert client.post(path, json=body_of_path, headers=headers).status_code == 202
    task = claims.claim_task("me", 30)
    assert task is not None
    assert (task.request_id, task.traceparent) == ids
    assert leases.begin_processing(task.lease, {"width": 16}, "source", plan(1))
    part = claims.claim_part("me", 30)
    assert part is not None
    assert (part.request_id, part.traceparent) == ids
