"""What /ready and /metrics show about the web app and its dependencies."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from flask.testing import FlaskClient

from idrl_local import servers
from idrl_testing.database import Database
from idrl_testing.waiting import LIMIT_S
from web_server import tasks_client

if TYPE_CHECKING:
    from conftest import AuthActions, MakeApp, TasksStandIn


@pytest.fixture(autouse=True)
def _long_timeouts(long_probe_timeouts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the stand-in too, however late it answers."""
    del long_probe_timeouts
    monkeypatch.setattr(tasks_client, "_PROBE_TIMEOUT_S", LIMIT_S)


def test_ready_needs_the_database(make_app: MakeApp) -> None:
    answer = make_app(postgres_port=servers.free_port()).test_client().get("/ready")
    assert answer.status_code == 503
    assert answer.json is not None
    assert answer.json["status"] == "unavailable"
    assert answer.json["checks"]["database"] == {"ok": False, "detail": "OperationalError"}


def test_ready_needs_a_database_that_takes_writes(client: FlaskClient, database: Database) -> None:
    """As a standby does not, nor a server whose disk is full."""
    database.execute("ALTER ROLE web SET default_transaction_read_only = on")
    try:
        refused = client.get("/ready")
    finally:
        database.execute("ALTER ROLE web RESET default_transaction_read_only")
    assert refused.status_code == 503
    assert refused.json is not None
    assert refused.json["checks"]["database"] == {"ok": False, "detail": "DatabaseReadOnly"}
    assert client.get("/ready").status_code == 200


def test_ready_without_the_tasks_service_is_degraded(make_app: MakeApp) -> None:
    answer = (
        make_app(tasks_url=f"http://127.0.0.1:{servers.free_port()}").test_client().get("/ready")
    )
    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["status"] == "degraded"


def test_ready_is_degraded_while_the_tasks_service_is(
    client: FlaskClient, tasks: TasksStandIn
) -> None:
    tasks.answer = lambda exchange: exchange.respond(200, b'{"status": "degraded"}')
    answer = client.get("/ready")
    assert answer.json is not None
    assert (answer.status_code, answer.json["status"]) == (200, "degraded")
    assert answer.json["checks"]["tasks"] == {"ok": False, "detail": "TasksDegraded"}
    assert 'idrl_check_ok{check="tasks"} 0.0' in client.get("/metrics").text


@pytest.mark.parametrize("shift_s", [-3600, 20])
def test_ready_shows_a_clock_whose_tokens_will_be_refused(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, shift_s: float
) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + shift_s)
    answer = client.get("/ready")
    assert answer.json is not None
    assert (answer.status_code, answer.json["status"]) == (200, "degraded")
    assert answer.json["checks"]["clock"] == {"ok": False, "detail": "ClockDiffers"}


def test_log_ins_are_counted_by_outcome(client: FlaskClient, auth: AuthActions) -> None:
    def counted(outcome: str) -> float:
        line_match = re.search(
            rf'^idrl_logins_total{{outcome="{outcome}"}} (\S+)$',
            client.get("/metrics").text,
            re.MULTILINE,
        )
        assert line_match is not None
        return float(line_match[1])

    before = {name: counted(name) for name in ("ok", "bad_credentials")}
    auth.signup()
    assert auth.login(password="Wrong-passw0rd").status_code == 401
    assert auth.login().status_code == 200
    after = {name: counted(name) for name in before}
    assert after == {name: count + 1 for name, count in before.items()}


def test_ready_health_and_metrics(client: FlaskClient) -> None:
    ready = client.get("/ready")
    assert (ready.status_code, ready.json) == (
        200,
        {
            "status": "ready",
            "checks": {"database": {"ok": True}, "clock": {"ok": True}, "tasks": {"ok": True}},
        },
    )
    health = client.get("/health")
    assert health.json is not None
    assert (health.json["status"], health.json["service"]) == ("ok", "web")
    assert (
        b'idrl_http_request_seconds_count{endpoint="status.health",method="GET",service="web"'
        in client.get("/metrics").data
    )
