"""What the sweeper puts right, whoever left it."""

import os
import time
import uuid
from collections.abc import Callable

import pytest

from worker_server.api import services
from worker_server.errors import WorkFailed
from worker_server.jobs.fetch import fetch_next
from worker_server.jobs.runtime import Runtime, SweepClock
from worker_server.jobs.sweep import sweep
from worker_server.queue import claims, leases
from worker_server.settings import Settings
from worker_testing import files, let_run_out, submit, task_of, waiting_wakeups

pytestmark = pytest.mark.usefixtures("no_wakeups", "app")
Sample = Callable[..., str]


@pytest.fixture
def clock() -> SweepClock:
    """Each test is a sweeper that has just started."""
    return SweepClock()


def test_sweep_takes_back_what_a_dead_worker_held(
    settings: Settings, site: str, sample: Sample, clock: SweepClock, runtime: Runtime
) -> None:
    task_id = submit(f"{site}/{sample(2)}")
    assert claims.claim_task("dead", 30) is not None
    let_run_out()
    sweep(settings.model_copy(update={"lease_s": 0.0}), clock)
    task = task_of(task_id)
    assert (task.status, task.failures, task.error_code) == ("queued", 1, "worker_lost")
    let_run_out()
    sweep(settings, clock)
    assert waiting_wakeups(settings, "fetch") == 1
    assert fetch_next(settings, runtime)
    assert task_of(task_id).status == "processing"


def test_sweep_gives_leases_a_round_more_when_it_comes_late(settings: Settings) -> None:
    submit("http://example.com/v.mp4")
    row = claims.claim_task("cut off, as we were", 30)
    assert row is not None
    let_run_out()
    at_once = settings.model_copy(update={"lease_s": 0.0})
    clock = SweepClock(swept_at=time.monotonic() - 100)
    sweep(at_once, clock)
    assert task_of(row.lease.task_id).status == "downloading"
    sweep(at_once, clock)
    assert task_of(row.lease.task_id).status == "queued"


def test_sweep_sends_the_hints_that_are_missing_once(settings: Settings, clock: SweepClock) -> None:
    for _ in range(5):
        submit("http://example.com/v.mp4")
    for _ in range(3):
        sweep(settings, clock)
        assert waiting_wakeups(settings, "fetch") == 5
    assert waiting_wakeups(settings, "render") == 0


def test_sweep_does_without_redis(settings: Settings, clock: SweepClock) -> None:
    submit("http://example.com/v.mp4")
    sweep(settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}), clock)


def test_sweep_finishes_a_cancel_and_removes_the_files(
    settings: Settings, clock: SweepClock
) -> None:
    task_id = submit("http://example.com/v.mp4")
    assert claims.claim_task("dead", 30) is not None
    assert services.delete_task(1, task_id) == "canceling"
    folder = settings.remote_folder / str(task_id)
    folder.mkdir()
    (folder / "source.1").touch()
    sweep(settings, clock)
    assert task_of(task_id).status == "canceling"
    let_run_out()
    sweep(settings, clock)
    assert task_of(task_id).status == "canceled"
    assert not folder.exists()


def test_sweep_removes_what_belongs_to_no_task(settings: Settings, clock: SweepClock) -> None:
    live = submit("http://example.com/v.mp4")
    failed = submit("http://example.com/v.mp4", owner_id=2)
    for _ in range(2):
        row = claims.claim_task("me", 30)
        assert row is not None
        if row.lease.task_id == failed:
            leases.fail(row.lease, WorkFailed("source_damaged", "broken"), 3)
    old, new = uuid.uuid4(), uuid.uuid4()
    for task_id in (live, failed, old, new):
        folder = settings.remote_folder / str(task_id)
        folder.mkdir()
        (folder / "source.1").touch()
        age_s = 0 if task_id == new else 3600
        os.utime(folder, (time.time() - age_s, time.time() - age_s))
    sweep(settings, clock)
    assert files(settings, live) == {"source.1"}
    assert files(settings, new) == {"source.1"}
    assert files(settings, failed) == set()
    assert files(settings, old) == set()
