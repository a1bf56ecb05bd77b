"""What `/ready` and `/metrics` say, and calls while a dependency is unavailable."""

import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from idrl_testing.database import Database
from idrl_testing.waiting import LIMIT_S
from worker_server import app as app_module, celery_app
from worker_server.app import create_app
from worker_server.media import SandboxReport
from worker_server.queue import pauses, workers
from worker_server.queue.claims import Kind
from worker_server.settings import Settings
from worker_server.share_monitor import ShareMonitor
from worker_testing import post, problem

pytestmark = pytest.mark.usefixtures("long_status_timeouts", "lasting_heartbeats")
Auth = Callable[..., dict[str, str]]


@pytest.fixture(autouse=True)
def _long_timeouts(long_probe_timeouts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for Redis and the share too, however late they answer."""
    del long_probe_timeouts
    monkeypatch.setattr(app_module, "_PROBE_S", LIMIT_S)
    monkeypatch.setattr(ShareMonitor.check, "__defaults__", (LIMIT_S,))


def test_a_task_is_accepted_while_redis_is_unavailable(settings: Settings, auth: Auth) -> None:
    app = create_app(settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))
    assert post(app.test_client(), auth()).status_code == 202
    ready = app.test_client().get("/ready")
    assert (ready.status_code, ready.get_json()["status"]) == (200, "degraded")


def test_unreachable_database_is_503(settings: Settings, auth: Auth) -> None:
    client = create_app(settings.model_copy(update={"postgres_port": 1})).test_client()
    response = client.get("/tasks", headers=auth())
    assert problem(response) == (503, "database_unavailable")
    assert response.headers["Retry-After"]
    assert problem(post(client, auth())) == (503, "database_unavailable")
    assert client.get("/ready").status_code == 503
    assert client.get("/health").status_code == 200


def alive() -> None:
    """Workers of each kind and a sweeper have just had a heartbeat."""
    for kind in ("fetch", "render"):
        workers.record_heartbeat(f"{kind}:1", [kind])
    for step in ("leases", "wakeups", "files", "totals", "expired", "rows"):
        workers.record_step(step, "sweeper:1", None)


def test_status_pages(client: FlaskClient, auth: Auth, share: Path) -> None:
    post(client, auth())
    alive()
    assert client.get("/health").get_json()["status"] == "ok"
    assert client.get("/ready").get_json()["status"] == "ready"
    assert b'idrl_work{kind="task",status="queued"} 1.0' in client.get("/metrics").data
    assert b'idrl_sandbox{level="landlock-' in client.get("/metrics").data
    (share / ".idrl-share").unlink()
    assert client.get("/ready").get_json()["checks"]["share"]["ok"] is False


def test_a_machine_without_a_sandbox_is_degraded(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("app", "readiness"):
        name = f"worker_server.{module}.sandbox_report"
        monkeypatch.setattr(name, lambda: SandboxReport(0, (), ("all",)))
    ready = client.get("/ready")
    assert (ready.status_code, ready.get_json()["status"]) == (200, "degraded")
    assert ready.get_json()["checks"]["sandbox"] == {"ok": False, "detail": "NoSandbox"}
    assert b'idrl_sandbox{level="none"} 1.0' in client.get("/metrics").data


@pytest.mark.parametrize(
    ("statement", "check", "detail"),
    [
        (
            "UPDATE workers SET seen_at = now() - interval '20 min' WHERE name = 'fetch:1'",
            "fetch_worker",
            "NoLiveWorker",
        ),
        ("DELETE FROM workers WHERE name = 'render:1'", "render_worker", "NoLiveWorker"),
        ("UPDATE sweeps SET done_at = now() - interval '10 min'", "sweeper", "SweeperLate"),
        ("DELETE FROM sweeps WHERE step = 'leases'", "sweeper", "SweeperLate"),
        ("DELETE FROM sweeps WHERE step = 'totals'", "sweeper", "SweeperLate"),
        ("DELETE FROM sweeps WHERE step = 'expired'", "sweeper", "SweeperLate"),
        (
            "UPDATE sweeps SET done_at = now() - interval '1 h' WHERE step = 'expired'",
            "sweeper",
            "SweeperLate",
        ),
        # From before the clock was set back: none since.
        ("UPDATE sweeps SET done_at = now() + interval '1 h'", "sweeper", "SweeperLate"),
        (
            "UPDATE workers SET seen_at = now() + interval '1 h' WHERE name = 'fetch:1'",
            "fetch_worker",
            "NoLiveWorker",
        ),
        ("UPDATE workers SET fault_code = 'internal_error'", "faults", "WorkerFault"),
    ],
)
def test_ready_names_what_is_missing(
    client: FlaskClient, database: Database, statement: str, check: str, detail: str
) -> None:
    alive()
    assert client.get("/ready").get_json()["status"] == "ready"
    database.execute(statement)
    answer = client.get("/ready").get_json()
    assert answer["status"] == "degraded"
    failed = {name: result for name, result in answer["checks"].items() if not result["ok"]}
    assert failed == {check: {"ok": False, "detail": detail}}


def test_slow_steps_of_the_sweeper_are_not_late_between_two_rounds(
    client: FlaskClient, database: Database
) -> None:
    alive()
    database.execute(
        "UPDATE sweeps SET done_at = now() - interval '20 min' WHERE step IN ('expired', 'rows')"
    )
    assert client.get("/ready").get_json()["status"] == "ready"


@pytest.mark.usefixtures("app")
def test_full_share_is_in_ready_and_refuses_new_tasks(settings: Settings, auth: Auth) -> None:
    once = {"Idempotency-Key": "once"}
    waiting = post(create_app(settings).test_client(), auth(), **once).get_json()["task_id"]
    full = settings.model_copy(update={"storage_reserve_bytes": 2**62})
    client = create_app(full).test_client()
    alive()
    client.get("/ready")  # checks the share; `share_space` shows the last check
    checks = client.get("/ready").get_json()["checks"]
    assert checks["share"]["ok"]
    assert checks["share_space"] == {"ok": False, "detail": "ShareFull"}
    response = post(client, auth())
    assert problem(response) == (503, "storage_full")
    assert response.headers["Retry-After"]
    assert post(client, auth(), **once).get_json()["task_id"] == waiting  # nothing is to be stored
    assert (
        client.get(f"/tasks/{waiting}", headers=auth()).get_json()["waiting_for"] == "storage_full"
    )


def test_hanging_redis_holds_up_no_post(
    settings: Settings, auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(celery_app._TRANSPORT, "socket_timeout", 60)
    with socket.create_server(
        ("127.0.0.1", 0), backlog=50
    ) as server:  # takes connections, never answers
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        client = create_app(settings.model_copy(update={"redis_url": url})).test_client()
        begun = time.monotonic()
        assert {post(client, auth()).status_code for _ in range(5)} == {202}
        assert time.monotonic() - begun < 60  # one send waits for as long by itself


def test_metrics_cover_workers_sweeper_and_share(client: FlaskClient) -> None:
    alive()
    text = client.get("/metrics").data.decode()
    assert 'idrl_workers{kind="fetch"} 1.0' in text
    assert 'idrl_last_sweep_timestamp_seconds{step="leases"}' in text
    assert 'idrl_queue_oldest_seconds{kind="render"} 0.0' in text
    assert re.search(r"^idrl_share_free_bytes [0-9.e+]+$", text, re.MULTILINE)


def test_metrics_show_paused_work(client: FlaskClient) -> None:
    pauses.pause(Kind.RENDER)
    text = client.get("/metrics").data.decode()
    assert 'idrl_paused{kind="render"} 1.0' in text
    assert 'idrl_paused{kind="fetch"} 0.0' in text
