"""Redis is unavailable, hangs or is full: tasks are accepted and aborted, and run afterwards."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from flask.testing import FlaskClient

from worker_server.app import create_app
from worker_testing import post

if TYPE_CHECKING:
    import uuid

    from system.conftest import Redis, System, Workers

    from worker_server.settings import Settings

pytestmark = pytest.mark.slow
Sample = Callable[..., str]
Auth = Callable[..., dict[str, str]]
_ACCEPTED_WITHIN_S = 5
_STARTED_WITHIN_S = 60


@pytest.fixture
def api(settings: "Settings") -> FlaskClient:
    """The tasks service, on the same Redis and database as the workers."""
    return create_app(settings).test_client()


def submit_all(api: FlaskClient, auth: Auth, url: str, count: int = 4) -> "list[uuid.UUID]":
    """Post tasks, each of which must be accepted in time."""
    import uuid

    accepted = []
    for _ in range(count):
        began = time.monotonic()
        response = post(api, auth(), url)
        assert response.status_code == 202
        assert time.monotonic() - began < _ACCEPTED_WITHIN_S
        accepted.append(uuid.UUID(response.get_json()["task_id"]))
    return accepted


def check_run_once(system: "System", tasks: "list[uuid.UUID]") -> None:
    for task_id in tasks:
        task = system.wait_for(task_id, "done", timeout_s=_STARTED_WITHIN_S)
        assert task.attempt == 1


def is_degraded(api: FlaskClient) -> bool:
    document = api.get("/ready")
    return document.status_code == 200 and not document.get_json()["checks"]["redis"]["ok"]


def test_tasks_posted_while_redis_is_unavailable_run_once(
    system: "System",
    workers: "Workers",
    redis_server: "Redis",
    api: FlaskClient,
    auth: Auth,
    site: str,
    sample: Sample,
) -> None:
    worker = workers.start()
    workers.start_sweeper()
    system.wait(lambda: "fetch-render-0@test ready" in workers.log())
    redis_server.kill()
    tasks = submit_all(api, auth, f"{site}/{sample(2)}")
    assert is_degraded(api)
    assert api.get(f"/tasks/{tasks[0]}", headers=auth()).get_json()["status"] == "queued"
    redis_server.start()
    check_run_once(system, tasks)
    assert worker.poll() is None


def test_tasks_posted_while_redis_hangs_run_once(
    system: "System",
    workers: "Workers",
    redis_server: "Redis",
    api: FlaskClient,
    auth: Auth,
    site: str,
    sample: Sample,
) -> None:
    """A stopped Redis takes connections, since its kernel does, and never answers."""
    worker = workers.start()
    workers.start_sweeper()
    system.wait(lambda: "fetch-render-0@test ready" in workers.log())
    assert redis_server.process is not None
    redis_server.process.send_signal(signal.SIGSTOP)
    try:
        tasks = submit_all(api, auth, f"{site}/{sample(2)}")
        assert is_degraded(api)
    finally:
        redis_server.process.send_signal(signal.SIGCONT)
    check_run_once(system, tasks)
    assert worker.poll() is None


def test_full_redis_evicts_nothing_and_tasks_run_once(
    system: "System",
    workers: "Workers",
    redis_server: "Redis",
    api: FlaskClient,
    auth: Auth,
    site: str,
    sample: Sample,
) -> None:
    workers.start_sweeper()
    early = submit_all(api, auth, f"{site}/{sample(2)}")
    with redis.Redis.from_url(redis_server.url) as client:
        system.wait(lambda: client.llen("fetch") == len(early))
        client.config_set("maxmemory", 1)
        late = submit_all(api, auth, f"{site}/{sample(2)}")
        assert client.llen("fetch") == len(early)
        client.config_set("maxmemory", 0)
    workers.start()
    check_run_once(system, early + late)


def fail_to_save(client: "redis.Redis") -> None:
    """Have Redis refuse writes because it could not save: its file's name is a folder's."""
    directory: Any = client.config_get("dir")
    [folder] = directory.values()
    Path(os.fsdecode(folder), "dump.rdb").mkdir()
    client.config_set("save", "3600 1")
    client.bgsave()
    facts: Any = {}
    while facts.get("rdb_last_bgsave_status") != "err":
        facts = client.info("persistence")
        time.sleep(0.05)


def set_rights(client: "redis.Redis", right: str) -> None:
    client.execute_command("ACL", "SETUSER", "default", right)  # type: ignore[no-untyped-call] # redis's own


# What Redis answers, what makes it do so, and what ends that.
REFUSALS: dict[str, tuple[Callable[..., object], Callable[..., object]]] = {
    "replica": (
        lambda redis: redis.replicaof("127.0.0.1", 1),
        lambda redis: redis.replicaof("NO", "ONE"),
    ),
    "NOREPLICAS": (
        lambda redis: redis.config_set("min-replicas-to-write", 1),
        lambda redis: redis.config_set("min-replicas-to-write", 0),
    ),
    "MISCONF": (fail_to_save, lambda redis: redis.config_set("save", "")),
    "no permissions": (
        lambda redis: set_rights(redis, "-brpop"),
        lambda redis: set_rights(redis, "+brpop"),
    ),
}


@pytest.mark.parametrize("answer", REFUSALS)
def test_workers_go_on_while_redis_refuses_and_after_it(
    system: "System",
    default_workers: "Workers",
    redis_server: "Redis",
    site: str,
    sample: Sample,
    answer: str,
) -> None:
    worker = default_workers.start()
    default_workers.start_sweeper()
    system.wait(lambda: "fetch-render-0@test ready" in default_workers.log())
    begin, end = REFUSALS[answer]
    with redis.Redis.from_url(redis_server.url) as client:
        begin(client)
        system.wait(lambda: answer in default_workers.log())
        waiting = system.post(f"{site}/{sample(2)}")
        end(client)
    check_run_once(system, [waiting])
    assert worker.poll() is None


def junk() -> list[bytes]:
    """Return what other programs and people put into a list: nearly messages, too."""
    properties = {"delivery_tag": "1", "delivery_info": {"exchange": "", "routing_key": "fetch"}}
    properties["body_encoding"] = "base64"
    task = {"task": "worker_server.fetch", "id": "1"}
    documents: list[object] = [
        *(None, 1, [], {}, {"job": 1}, {"__type__": "unknown", "__value__": 1}),
        {"properties": {}, "headers": task},
        {"properties": {"delivery_tag": "1"}, "headers": task},
        {"properties": {**properties, "delivery_tag": ["1"]}, "headers": task},
        {"properties": {**properties, "body_encoding": "rot13"}, "headers": task, "body": "x"},
        {"properties": properties, "headers": None},
        {"properties": properties, "headers": {"task": ["worker_server.fetch"], "id": "1"}},
        {"properties": properties, "headers": {"task": "worker_server.fetch"}, "body": "e30="},
    ]
    texts = [b"", b"wake up", b"\xff\xfe", b"[" * 100_000]
    return [*texts, *(json.dumps(each).encode() for each in documents)]


def test_what_is_no_message_is_dropped_and_workers_go_on(
    system: "System",
    default_workers: "Workers",
    redis_server: "Redis",
    site: str,
    sample: Sample,
) -> None:
    worker = default_workers.start()
    default_workers.start_sweeper()
    system.wait(lambda: "fetch-render-0@test ready" in default_workers.log())
    with redis.Redis.from_url(redis_server.url) as client:
        for queue in ("fetch", "render"):
            client.lpush(queue, *junk())
        system.wait(lambda: client.llen("fetch") == client.llen("render") == 0)
    check_run_once(system, [system.post(f"{site}/{sample(2)}")])
    assert worker.poll() is None
    assert default_workers.log().count("dropped what is not a message") == 2 * len(junk())


@pytest.mark.parametrize("is_alive", [True, False])
def test_abort_needs_no_redis(
    system: "System",
    workers: "Workers",
    redis_server: "Redis",
    api: FlaskClient,
    auth: Auth,
    site: str,
    sample: Sample,
    is_alive: bool,  # a parameter of the test
) -> None:
    """While its worker lives the worker ends the abort, after that the sweeper."""
    worker = workers.start()
    workers.start_sweeper()
    [task_id] = submit_all(api, auth, f"{site}/{sample(20, size='1280x720', rate=30)}", 1)
    system.wait(system.encoders)
    redis_server.kill()
    if not is_alive:
        os.killpg(worker.pid, signal.SIGSTOP)
    assert api.delete(f"/tasks/{task_id}", headers=auth()).status_code == 202
    system.wait_for(task_id, "canceled", timeout_s=20)
    assert not system.files(task_id)
    assert (system.task(task_id).canceled_in_ms or 0) > 0
