"""Workers, encoders, Redis and the database fail: every task ends, no clip is duplicated or lost.

Nothing is left behind.
"""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import psycopg2
import pytest
import redis
from sqlalchemy import text

from worker_server.db import db
from worker_server.queue import claims

if TYPE_CHECKING:
    import uuid

    from system.conftest import Redis, System, Workers

    from worker_server.settings import Settings

# Each takes seconds, most of them waiting for a lease to run out: `make test-faults` runs them.
pytestmark = pytest.mark.slow
Sample = Callable[..., str]


@pytest.fixture
def settings(settings: "Settings") -> "Settings":
    """Parts that are short, and take a while all the same."""
    return settings.model_copy(update={"part_seconds": 4, "render_preset": "slower"})


@pytest.fixture
def long_video(site: str, sample: Sample) -> str:
    """The URL of a source whose parts take a few seconds each."""
    return f"{site}/{sample(8, size='640x360', rate=30)}"


@pytest.fixture
def short(site: str, sample: Sample) -> str:
    return f"{site}/{sample(2)}"


def check_done(system: "System", task_id: "uuid.UUID") -> None:
    """Wait for the end; each part must be there once, and nothing else."""
    system.wait_for(task_id, "done", timeout_s=90)
    parts = system.parts(task_id)
    assert {part.status for part in parts} == {"done"}
    names = {f"{part.number}.{part.attempt}" for part in parts}
    published = {f"{name}.{kind}" for name in names for kind in ("mp4", "jpg")}
    system.wait(lambda: system.files(task_id) == published, timeout_s=10)


def test_killed_worker_leaves_no_encoder_behind(
    system: "System", workers: "Workers", long_video: str
) -> None:
    worker = workers.start()
    workers.start_sweeper()
    task_id = system.post(long_video)
    system.wait(system.encoders)
    workers.kill(worker)
    system.wait(lambda: not system.encoders(), timeout_s=3)
    workers.start()
    check_done(system, task_id)
    assert max(part.attempt for part in system.parts(task_id)) == 2


def test_work_of_a_killed_worker_begins_again_within_20_s(
    system: "System", default_workers: "Workers", long_video: str
) -> None:
    worker, other = default_workers.start(), default_workers.start()
    ready = [f"fetch-render-{number}@test ready" for number in range(2)]
    system.wait(lambda: all(line in default_workers.log() for line in ready))
    os.killpg(other.pid, signal.SIGSTOP)  # so that the first one gets the work
    default_workers.start_sweeper()
    task_id = system.post(long_video)
    system.wait(system.encoders)
    killed_at = db.session.scalar(text("SELECT clock_timestamp()"))
    db.session.rollback()
    default_workers.kill(worker)
    os.killpg(other.pid, signal.SIGCONT)
    again = text(
        "SELECT extract(epoch FROM min(at) - :killed_at) FROM task_events"
        " WHERE task_id = :id AND kind = 'claimed' AND attempt = 2"
    )

    def elapsed_s() -> float | None:
        db.session.rollback()
        elapsed: float | None = db.session.scalar(again, {"id": task_id, "killed_at": killed_at})
        return elapsed

    system.wait(elapsed_s)
    assert (elapsed_s() or 0) <= 20


def test_killed_encoder_is_retried(system: "System", workers: "Workers", long_video: str) -> None:
    workers.start()
    workers.start_sweeper()
    task_id = system.post(long_video)
    system.wait(system.encoders)
    for pid in system.encoders():
        os.kill(pid, signal.SIGKILL)
    check_done(system, task_id)


def test_stopped_worker_releases_its_parts(
    system: "System", workers: "Workers", long_video: str
) -> None:
    worker = workers.start()
    workers.start_sweeper()
    task_id = system.post(long_video)
    system.wait(system.encoders)
    worker.send_signal(signal.SIGTERM)
    worker.wait(20)
    system.wait(lambda: system.encoders() == [], timeout_s=3)
    assert {(part.status, part.failures) for part in system.parts(task_id)} == {("waiting", 0)}
    workers.start()
    check_done(system, task_id)


def test_frozen_worker_changes_nothing_when_it_wakes(
    system: "System", workers: "Workers", long_video: str
) -> None:
    sleeper = workers.start("fetch,render", concurrency=1)
    workers.start_sweeper()
    task_id = system.post(long_video)
    system.wait(system.encoders)
    os.killpg(sleeper.pid, signal.SIGSTOP)
    other = workers.start()
    system.wait(lambda: any(part.attempt == 2 for part in system.parts(task_id)), timeout_s=30)
    os.killpg(sleeper.pid, signal.SIGCONT)
    check_done(system, task_id)
    assert other.poll() is None
    assert sleeper.poll() is None


def test_nothing_is_lost_when_redis_is_emptied(
    system: "System", workers: "Workers", redis_server: "Redis", short: str
) -> None:
    workers.start()
    workers.start_sweeper()
    tasks = [system.post(short) for _ in range(8)]
    system.wait(lambda: any(system.task(task_id).status != "queued" for task_id in tasks))
    client = redis.Redis.from_url(redis_server.url)
    client.flushall()
    client.close()
    for task_id in tasks:
        check_done(system, task_id)
        assert system.task(task_id).attempt == 1


def test_workers_survive_the_death_of_redis(
    system: "System", workers: "Workers", redis_server: "Redis", long_video: str, short: str
) -> None:
    worker = workers.start()
    workers.start_sweeper()
    running = system.post(long_video)
    system.wait(system.encoders)
    redis_server.kill()
    waiting = system.post(short)
    redis_server.start()
    for task_id in (running, waiting):
        check_done(system, task_id)
    assert worker.poll() is None
    assert system.task(waiting).attempt == 1


def test_workers_survive_a_full_redis(
    system: "System", workers: "Workers", redis_server: "Redis", short: str
) -> None:
    worker = workers.start()
    workers.start_sweeper()
    client = redis.Redis.from_url(redis_server.url)
    system.wait(lambda: "fetch-render-0@test ready" in workers.log())
    os.kill(worker.pid, signal.SIGSTOP)  # so that messages are there when Redis is full
    tasks = [system.post(short) for _ in range(3)]
    system.wait(lambda: client.llen("fetch"))
    client.config_set("maxmemory", 1)
    os.kill(worker.pid, signal.SIGCONT)
    system.wait(lambda: "OutOfMemoryError" in workers.log() or "OOM" in workers.log())
    time.sleep(2)  # a worker that cannot bear it ends within that time
    assert worker.poll() is None
    client.config_set("maxmemory", 0)
    client.close()
    for task_id in tasks:
        check_done(system, task_id)
    assert worker.poll() is None


def test_lost_database_connection_costs_no_attempt(
    system: "System", workers: "Workers", long_video: str
) -> None:
    workers.start()
    workers.start_sweeper()
    task_id = system.post(long_video)
    system.wait(system.encoders)
    cut_connections(system)
    check_done(system, task_id)
    assert [part.attempt for part in system.parts(task_id)] == [1, 1]


def test_source_facts_of_another_release_are_probed_again(
    system: "System", workers: "Workers", long_video: str
) -> None:
    workers.start(concurrency=1)
    workers.start_sweeper()
    task_id = system.post(long_video)
    system.wait(system.encoders)
    db.session.execute(text("UPDATE tasks SET source = source - 'frame_rate'"))
    db.session.commit()
    check_done(system, task_id)
    assert [part.failures for part in system.parts(task_id)] == [0, 0]


def has_failed_again(system: "System", task_id: "uuid.UUID", failures: int) -> bool:
    return system.task(task_id).failures > failures


def test_source_that_kills_each_worker_fails_and_others_go_on(
    system: "System", workers: "Workers", long_video: str, short: str
) -> None:
    workers.start_sweeper()
    poison = system.post(long_video)
    for _ in range(system.settings.max_attempts):
        # Simulate a worker that dies right after its claim.
        row = None
        while row is None:
            row = claims.claim_task("doomed", 0.1)
        assert row.lease.task_id == poison
        failures = system.task(poison).failures
        system.wait(partial(has_failed_again, system, poison, failures), timeout_s=20)
    workers.start()
    check_done(system, system.post(short, owner_id=2))
    task = system.task(poison)
    assert (task.status, task.error_code) == ("failed", "worker_lost")


def cut_connections(system: "System") -> None:
    """End every connection to the database, as its restart would."""
    db.session.remove()
    settings = system.settings
    connection = psycopg2.connect(
        host=settings.postgres_host,
        port=settings.postgres_port,
        dbname=settings.postgres_db,
        user="postgres",
        password=settings.postgres_password,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE usename = 'worker' AND datname = %s",
            [settings.postgres_db],
        )
    connection.close()
