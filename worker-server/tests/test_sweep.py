"""What the sweeper's steps put right, and that none of them waits for another."""

import os
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from idrl_testing.database import Database
from idrl_testing.waiting import LIMIT_S
from worker_server import redis_client, storage, sweeper
from worker_server.api import services
from worker_server.db import db
from worker_server.errors import WorkFailed
from worker_server.jobs import sweep
from worker_server.jobs.fetch import fetch_next
from worker_server.jobs.runtime import Runtime, SweepClock
from worker_server.queue import batches, brands, claims, leases, pauses, uploads, wakeups, workers
from worker_server.queue.claims import Kind
from worker_server.queue.retry_policy import RetryLimits
from worker_server.settings import Settings
from worker_testing import expire_leases, files, submit, task_of, waiting_wakeups

pytestmark = pytest.mark.usefixtures("no_wakeups", "app")
Sample = Callable[..., str]
URL = "http://example.com/v.mp4"


@pytest.fixture
def clock() -> SweepClock:
    """Each test is a sweeper that has just started."""
    return SweepClock()


def test_lease_of_a_dead_worker_is_reclaimed_at_once(
    settings: Settings,
    at_once: Settings,
    site: str,
    sample: Sample,
    clock: SweepClock,
    runtime: Runtime,
) -> None:
    task_id = submit(f"{site}/{sample(2)}")
    assert claims.claim_task("dead", 30) is not None
    expire_leases()
    sweep.reclaim_leases(at_once, clock)
    task = task_of(task_id)
    assert (task.status, task.failures, task.error_code) == ("queued", 1, "worker_lost")
    sweep.send_wakeups(settings)
    assert waiting_wakeups(settings, "fetch") == 1
    assert fetch_next(settings, runtime)
    assert task_of(task_id).status == "processing"


def test_paused_work_gets_no_wakeups(settings: Settings) -> None:
    """Workers would take each one, claim nothing, and find the queue filled again."""
    submit(URL)
    pauses.pause(Kind.FETCH)
    sweep.send_wakeups(settings)
    assert waiting_wakeups(settings, "fetch") == 0
    pauses.resume(Kind.FETCH)
    sweep.send_wakeups(settings)
    assert waiting_wakeups(settings, "fetch") == 1


def test_step_fails_while_redis_refuses_wakeups(settings: Settings) -> None:
    """So that `/ready` shows it: a full Redis, or a replica, answers to PING."""
    submit(URL)
    client = redis_client.connect(settings, timeout_s=5)
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(wakeups.NotSent):
            sweep.send_wakeups(settings)
    finally:
        client.config_set("maxmemory", 0)
        client.close()
    sweep.send_wakeups(settings)
    assert waiting_wakeups(settings, "fetch") == 1


def test_leases_that_one_machine_loses_together_are_not_counted(
    at_once: Settings, clock: SweepClock
) -> None:
    tasks = [submit(URL) for _ in range(2)]
    for pid in (7, 8):
        assert claims.claim_task(f"looping:{pid}", 30) is not None
    expire_leases()
    sweep.reclaim_leases(at_once, clock)
    assert [task_of(task_id).failures for task_id in tasks] == [0, 0]


@pytest.mark.parametrize("number", [0, 1])
def test_locked_task_holds_up_no_other_lease(
    at_once: Settings, clock: SweepClock, database: Database, number: int
) -> None:
    """Locked by a psql that was forgotten, for example."""
    tasks = [submit(URL, owner_id=owner) for owner in (1, 2)]
    for _ in tasks:
        assert claims.claim_task("dead", 30) is not None
    expire_leases()
    locked, other = tasks[number], tasks[1 - number]
    with database.holding(f"SELECT FROM tasks WHERE id = '{locked}' FOR UPDATE"):
        sweep.reclaim_leases(at_once, clock)
        assert (task_of(locked).status, task_of(other).status) == ("downloading", "queued")
    sweep.reclaim_leases(at_once, clock)
    assert task_of(locked).status == "queued"


def test_locked_task_holds_up_no_other_cancel(settings: Settings, database: Database) -> None:
    locked, other = (submit(URL, owner_id=owner) for owner in (1, 2))
    for task_id, owner in ((locked, 1), (other, 2)):
        lease = claims.claim_task("me", 30)
        assert lease is not None
        assert services.delete_task(owner, task_id) == "canceling"
        leases.release(lease.lease)
    with database.holding(f"SELECT FROM tasks WHERE id = '{locked}' FOR UPDATE"):
        sweep.remove_files(settings)
        assert (task_of(locked).status, task_of(other).status) == ("canceling", "canceled")
    database.execute("UPDATE removals SET run_after = now()")
    sweep.remove_files(settings)
    assert task_of(locked).status == "canceled"


_OLD = "now() - interval '2 days'"
OLD_ROWS: dict[str, tuple[str, str, Callable[[], None]]] = {
    "batches": ("created_at", _OLD, batches.delete_empty),
    "uploads": (
        "removed_at, length_bytes, expires_at",
        f"{_OLD}, 7, now()",
        uploads.delete_removed_rows,
    ),
    "brands": (
        "deleted_at, name, spec, files, size_bytes",
        f"{_OLD}, '', '{{}}', '{{}}', 7",
        partial(brands.delete_unneeded_rows, 100),
    ),
}


@pytest.mark.parametrize("table", OLD_ROWS)
def test_locked_row_holds_up_no_removal_of_others(database: Database, table: str) -> None:
    columns, values, delete_old = OLD_ROWS[table]
    database.execute(
        f"INSERT INTO {table} (id, owner_id, {columns})"
        f" SELECT gen_random_uuid(), 1, {values} FROM generate_series(1, 3)"
    )
    with database.holding(f"SELECT FROM {table} LIMIT 1 FOR UPDATE"):
        delete_old()
        assert database.execute(f"SELECT count(*) FROM {table}") == [(1,)]
    delete_old()
    assert database.execute(f"SELECT count(*) FROM {table}") == [(0,)]


def test_machine_that_keeps_losing_tasks_fails_none(at_once: Settings, clock: SweepClock) -> None:
    tasks = [submit(URL) for _ in range(2)]
    for _ in range(4):
        for _task in tasks:  # the one that was lost waits while the other is tried
            claim = claims.claim_task("looping:7", 30)
            assert claim is not None
            expire_leases()
            sweep.reclaim_leases(at_once, clock)
            expire_leases()
            db.session.execute(
                text("UPDATE tasks SET run_after = now() + interval '1 h' WHERE id = :id"),
                {"id": claim.lease.task_id},
            )
            db.session.commit()
        expire_leases()
    assert {task_of(task_id).status for task_id in tasks} == {"queued"}
    assert sum(task_of(task_id).failures for task_id in tasks) == 1


def _last_round_ended(ago: str) -> None:
    workers.record_step("leases", "any sweeper", None)
    db.session.execute(text(f"UPDATE sweeps SET done_at = now() - interval '{ago}'"))
    db.session.commit()


@pytest.mark.parametrize("ago", ["100 min", "11 min"])
def test_round_long_after_the_last_one_reclaims_no_lease(
    at_once: Settings, clock: SweepClock, ago: str
) -> None:
    """By the database's clock, which leases are measured by.

    No worker could renew meanwhile where the database failed over or the machine was paused, and
    all leases run out at once where the clock is set forward. It does not matter which process did
    the last round.
    """
    submit(URL)
    claim = claims.claim_task("cut off, as this sweeper was", 30)
    assert claim is not None
    expire_leases()
    _last_round_ended(ago)
    sweep.reclaim_leases(at_once, clock)
    assert task_of(claim.lease.task_id).status == "downloading"
    sweep.reclaim_leases(at_once, clock)
    assert task_of(claim.lease.task_id).status == "queued"


def test_round_soon_after_the_last_one_reclaims_leases(
    at_once: Settings, clock: SweepClock
) -> None:
    submit(URL)
    claim = claims.claim_task("dead", 30)
    assert claim is not None
    expire_leases()
    _last_round_ended("8 min")
    sweep.reclaim_leases(at_once, clock)
    assert task_of(claim.lease.task_id).status == "queued"


def test_missing_wakeups_are_sent_once(settings: Settings) -> None:
    for _ in range(5):
        submit(URL)
    for _ in range(3):
        sweep.send_wakeups(settings)
        assert waiting_wakeups(settings, "fetch") == 5
    assert waiting_wakeups(settings, "render") == 0


def test_parts_of_many_long_videos_do_not_fill_redis(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wake-up takes 1 KB of 64 MB, and the sweeper sends as many as are missing."""
    monkeypatch.setattr(wakeups, "MAX_WAKEUPS", 5)
    for parts in (4, 20, 20):
        assert wakeups.send(Kind.RENDER, parts)
    assert waiting_wakeups(settings, "render") == 5
    assert wakeups.send(Kind.FETCH)
    assert waiting_wakeups(settings, "fetch") == 1


@pytest.mark.parametrize("fault", ["unmounted", "full"])
def test_nothing_is_preempted_while_the_share_cannot_be_used(
    settings: Settings,
    clock: SweepClock,
    share: Path,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Workers claim nothing then: a preemption would discard work and free no slot."""
    monkeypatch.setattr(sweep, "_SHARE_WAIT_S", LIMIT_S)
    for owner_id in (1, 1, 1, 2):
        submit(URL, owner_id)
    leased = [claims.claim_task("me", 30) for _ in range(4)]
    other = next(each for each in leased if each and task_of(each.lease.task_id).owner_id == 2)
    assert other is not None
    leases.release(other.lease)
    db.session.execute(
        text(
            "UPDATE tasks SET created_at = now() - interval '1 h',"
            " run_after = now() - interval '1 h' WHERE status = 'queued'"
        )
    )
    db.session.commit()
    running = text("SELECT count(*) FROM tasks WHERE status = 'downloading'")
    marker, reserve_bytes = share / storage.MARKER, settings.storage_reserve_bytes
    if fault == "unmounted":
        marker.unlink()
    else:
        reserve_bytes = 2**62
    round_of(settings.model_copy(update={"storage_reserve_bytes": reserve_bytes}), clock)
    assert db.session.scalar(running) == 3
    db.session.rollback()
    marker.touch()
    round_of(settings, clock)
    assert db.session.scalar(running) == 2


def round_of(settings: Settings, clock: SweepClock) -> None:
    for group in sweeper.groups(settings, clock):
        assert sweeper.run_round(group, "test:1")


def test_round_without_redis_reclaims_leases_and_ends_cancels(
    at_once: Settings, clock: SweepClock
) -> None:
    lost, canceled = submit(URL), submit(URL, owner_id=2)
    for _ in range(2):
        assert claims.claim_task("dead", 30) is not None
    assert services.delete_task(2, canceled) == "canceling"
    expire_leases()
    round_of(at_once.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}), clock)
    assert task_of(lost).status == "queued"
    assert task_of(canceled).status == "canceled"
    ages_s = workers.liveness().sweep_ages_s
    assert ages_s["leases"] < 60
    assert db.session.scalar(text("SELECT error FROM sweeps WHERE step = 'wakeups'"))


def test_failed_step_does_not_stop_the_others(
    at_once: Settings, clock: SweepClock, share: Path
) -> None:
    assert claims.claim_task("none", 30) is None
    lost = submit(URL)
    assert claims.claim_task("dead", 30) is not None
    expire_leases()
    for path in share.iterdir():
        path.unlink()
    share.rmdir()
    round_of(at_once, clock)
    assert task_of(lost).status == "queued"


def test_only_one_process_sweeps_at_a_time(settings: Settings, clock: SweepClock) -> None:
    group, *_ = sweeper.groups(settings, clock)
    with db.engine.connect() as other:
        other.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": 0x5EE9})
        assert not sweeper.run_round(group, "test:1")
    assert sweeper.run_round(group, "test:1")


def test_cancel_ends_with_its_files(settings: Settings) -> None:
    task_id = submit(URL)
    assert claims.claim_task("dead", 30) is not None
    assert services.delete_task(1, task_id) == "canceling"
    folder = settings.remote_folder / str(task_id)
    folder.mkdir()
    (folder / "source.1").write_bytes(b"12345")
    sweep.remove_files(settings)
    assert task_of(task_id).status == "canceling"
    expire_leases()
    db.session.execute(text("UPDATE removals SET run_after = now()"))
    db.session.commit()
    sweep.remove_files(settings)
    task = task_of(task_id)
    assert (task.status, task.freed_bytes) == ("canceled", 5)
    assert task.canceled_in_ms is not None
    assert not folder.exists()


def test_cancel_waits_for_a_share_that_is_unavailable(settings: Settings, share: Path) -> None:
    task_id = submit(URL)
    assert claims.claim_task("dead", 30) is not None
    assert services.delete_task(1, task_id) == "canceling"
    expire_leases()
    (share / ".idrl-share").unlink()
    sweep.remove_files(settings)
    assert task_of(task_id).status == "canceling"
    (share / ".idrl-share").touch()
    db.session.execute(text("UPDATE removals SET run_after = now()"))
    db.session.commit()
    sweep.remove_files(settings)
    assert task_of(task_id).status == "canceled"


def test_files_of_a_retry_during_a_slow_listing_stay(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share that hangs may hold up the listing for minutes."""
    task_id = submit(URL)
    claim = claims.claim_task("me", 30)
    assert claim is not None
    leases.fail(claim.lease, WorkFailed("source_damaged", "broken"), RetryLimits(3))
    folder = settings.remote_folder / str(task_id)
    folder.mkdir()
    list_files = storage.list_files

    def list_later(remote: Path, task_id: uuid.UUID) -> frozenset[str]:
        services.retry_task(1, task_id, settings.quotas)
        assert claims.claim_task("me", 30) is not None
        (folder / "source.2").touch()
        return list_files(remote, task_id)

    monkeypatch.setattr(storage, "list_files", list_later)
    sweep.remove_files(settings)
    assert files(settings, task_id) == {"source.2"}


def test_files_that_belong_to_no_task_are_removed(settings: Settings, clock: SweepClock) -> None:
    live = submit(URL)
    failed = submit(URL, owner_id=2)
    for _ in range(2):
        claim = claims.claim_task("me", 30)
        assert claim is not None
        if claim.lease.task_id == failed:
            leases.fail(claim.lease, WorkFailed("source_damaged", "broken"), RetryLimits(3))
    old, new = uuid.uuid4(), uuid.uuid4()
    for task_id in (live, failed, old, new):
        folder = settings.remote_folder / str(task_id)
        folder.mkdir()
        (folder / "source.1").touch()
        age_s = 0 if task_id == new else 3600
        os.utime(folder, (time.time() - age_s, time.time() - age_s))
    sweep.remove_orphans(settings, clock)
    sweep.remove_files(settings)
    assert files(settings, live) == {"source.1"}
    assert files(settings, new) == {"source.1"}
    assert files(settings, failed) == set()
    assert files(settings, old) == set()
