"""Helpers of several test modules: make tasks and parts, and read their rows."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from flask.testing import FlaskClient
from sqlalchemy import select, text
from werkzeug.test import TestResponse

from worker_server.db import db
from worker_server.errors import WorkFailed
from worker_server.jobs.worker_heartbeat import WorkerHeartbeat
from worker_server.models import Part, Task
from worker_server.queue import claims, leases, removals, submissions
from worker_server.queue.claims import PartLease, TaskLease
from worker_server.queue.parts import Clip, PlannedPart
from worker_server.queue.submissions import Submission
from worker_server.settings import Settings

LOST = WorkFailed("worker_lost", "gone", retryable=True)
PATH = "source"
URL = "http://example.com/race.mp4"
SOURCE = {
    "size_bytes": 9_000,
    "duration_s": "20",
    "width": 1280,
    "height": 720,
    "frame_rate": "30000/1001",
    "video_codec": "h264",
    "audio_codec": "",
}


def submit(url: str = "http://example.com/v.mp4", owner_id: int = 1) -> uuid.UUID:
    return submissions.create_task(Submission(owner_id, url))[0].id


def plan(count: int) -> list[PlannedPart]:
    return [PlannedPart(n, n * 600, n * 600 + 600, n * 20.0, n * 20.0 + 20) for n in range(count)]


def claim_task() -> TaskLease:
    claim = claims.claim_task("me", 30)
    assert claim is not None
    return claim.lease


def claim_part() -> PartLease:
    claim = claims.claim_part("me", 30)
    assert claim is not None
    return claim.lease


def processing(parts: int = 2, owner_id: int = 1) -> uuid.UUID:
    submit(owner_id=owner_id)
    lease = claim_task()
    assert leases.begin_processing(lease, {"width": 16}, PATH, plan(parts))
    return lease.task_id


def finished_part(size_bytes: int = 7) -> PartLease:
    """Claim a part and finish it, without a file."""
    lease = claim_part()
    path = f"{lease.task_id}/{lease.number}.{lease.attempt}.mp4"
    assert leases.finish_part(lease, Clip(path, size_bytes, "0" * 64, 600, "encode"))
    return lease


def task_of(task_id: uuid.UUID) -> Task:
    db.session.expire_all()
    task = db.session.get(Task, task_id)
    assert task is not None
    return task


def part_of(lease: PartLease) -> Part:
    db.session.expire_all()
    part = db.session.get(Part, (lease.task_id, lease.number))
    assert part is not None
    return part


def parts_of(task_id: uuid.UUID) -> list[Part]:
    """Return the parts in order; none before the source is there."""
    db.session.expire_all()
    return list(
        db.session.scalars(select(Part).where(Part.task_id == task_id).order_by(Part.number))
    )


def needed_files(task_id: uuid.UUID) -> set[str] | None:
    """Return what a removal would leave; None while there is nothing to remove."""
    job = removals.begin(task_id)
    return None if job is None else set(job.kept)


def finish_cancel(task_id: uuid.UUID) -> bool:
    """End a cancel as if its files were gone by now; False while a worker holds the task."""
    job = removals.begin(task_id)
    if job is None:
        return False
    removals.finish(job, 7)
    return True


def files(settings: Settings, task_id: uuid.UUID) -> set[str]:
    folder = settings.remote_folder / str(task_id)
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def waiting_wakeups(settings: Settings, queue: str) -> int:
    client = redis.Redis.from_url(settings.redis_url)
    try:
        waiting: int = client.llen(queue)  # type: ignore[assignment] # sync and async calls share types
        return waiting
    finally:
        client.close()


@contextmanager
def beating(heartbeat: WorkerHeartbeat) -> Iterator[None]:
    """Send heartbeats while the block lasts; a late one would leave a row to the next test."""
    heartbeat.start()
    try:
        yield
    finally:
        heartbeat._ended.set()
        heartbeat._thread.join()
        heartbeat.stop()


def expire_leases() -> None:
    for table in ("tasks", "parts"):
        db.session.execute(
            text(f"UPDATE {table} SET lease_until = now() - interval '1 s', run_after = now()")
        )
    db.session.commit()


def post(client: FlaskClient, headers: dict[str, str], url: str = URL, **more: str) -> TestResponse:
    return client.post("/tasks", json={"url": url}, headers={**headers, **more})


def problem(response: TestResponse) -> tuple[int, str]:
    """Return status and code, having checked that it is a whole problem document."""
    assert response.mimetype == "application/problem+json"
    body = response.get_json()
    assert body["status"] == response.status_code
    assert body["type"] == f"urn:idrl:problem:{body['code']}"
    assert body["detail"]
    assert body["request_id"] == response.headers["X-Request-Id"]
    return response.status_code, body["code"]


def uuid_of(link: str) -> uuid.UUID:
    """The id of the task with this link."""
    return uuid.UUID(link.rpartition("/")[2])


def rows_of(plan: dict[str, Any]) -> Iterator[int]:
    """Yield the rows that each step of a plan gave or took away."""
    yield (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    for step in plan.get("Plans", []):
        yield from rows_of(step)


def batch_items(count: int) -> list[dict[str, Any]]:
    """Return items of a batch."""
    return [{"url": f"http://example.com/{n}.mp4", "external_id": str(n)} for n in range(count)]


def post_batch(
    client: FlaskClient, headers: dict[str, str], body: object, **more: str
) -> TestResponse:
    """Call POST /batches; `more` are further headers."""
    return client.post("/batches", json=body, headers={**headers, **more})
