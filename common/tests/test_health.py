"""`/health`, `/ready` and `/metrics` of every service."""

import threading
from collections.abc import Callable, Iterable

import pytest
from flask import Flask
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from idrl_common import health
from idrl_common.health import Check, Status

pytestmark = pytest.mark.usefixtures("long_probe_timeouts")


def works() -> None:
    """Do nothing."""


def fails() -> None:
    raise ConnectionError("a secret address")


def test_health_runs_no_checks(app: Flask) -> None:
    app.register_blueprint(health.blueprint(Status("sample", "abc", {"database": Check(fails)})))
    answer = app.test_client().get("/health")
    assert answer.status_code == 200
    assert answer.json == {
        "status": "ok",
        "service": "sample",
        "version": "0.1.0",
        "revision": "abc",
    }


@pytest.mark.parametrize(
    ("database", "redis", "code", "status"),
    [
        (works, works, 200, "ready"),
        (works, fails, 200, "degraded"),
        (fails, works, 503, "unavailable"),
        (fails, fails, 503, "unavailable"),
    ],
)
def test_ready_lists_failed_checks(
    app: Flask, database: Callable[[], None], redis: Callable[[], None], code: int, status: str
) -> None:
    checks = {"database": Check(database), "redis": Check(redis, required=False)}
    app.register_blueprint(health.blueprint(Status("sample", "abc", checks)))
    answer = app.test_client().get("/ready")
    results = {works: {"ok": True}, fails: {"ok": False, "detail": "ConnectionError"}}
    assert answer.status_code == code
    assert answer.json == {
        "status": status,
        "checks": {"database": results[database], "redis": results[redis]},
    }


@pytest.mark.parametrize(("database", "code"), [(works, 200), (fails, 503)])
def test_callers_from_outside_learn_no_details(
    app: Flask, database: Callable[[], None], code: int
) -> None:
    app.register_blueprint(health.blueprint(Status("sample", "abc", {"database": Check(database)})))
    answer = app.test_client().get("/ready", headers={"X-Forwarded-For": "203.0.113.7"})
    assert answer.status_code == code
    assert answer.json == {"status": "ready" if code == 200 else "unavailable"}


class Queue(Collector):
    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("sample_queue_length", "How many wait.", value=7)


def test_metrics_count_requests_by_route(app: Flask) -> None:
    @app.get("/things/<name>")
    def thing(name: str) -> str:
        return name

    health.install(app, "counted")  # beside "sample", which the other tests count in as well
    app.register_blueprint(health.blueprint(Status("counted", "abc", {}), Queue()))
    client = app.test_client()
    for path in ("/things/a", "/things/b", "/nowhere"):
        client.get(path)
    answer = client.get("/metrics")
    assert answer.content_type.startswith("text/plain")
    assert "sample_queue_length 7.0" in answer.text
    counted = (
        'idrl_http_request_seconds_count{endpoint="%s",method="GET"'
        ',service="counted",status="%d"} %s'
    )
    assert counted % ("thing", 200, "2.0") in answer.text
    assert counted % ("none", 404, "1.0") in answer.text
    assert "/things/a" not in answer.text


def test_check_works_again_once_a_thread_can_be_started(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    app.register_blueprint(health.blueprint(Status("sample", "abc", {"database": Check(works)})))
    client = app.test_client()
    with monkeypatch.context() as starved:
        starved.setattr(threading.Thread, "start", refuse)
        answer = client.get("/ready")
        assert answer.status_code == 503
        assert answer.json
        assert answer.json["checks"] == {"database": {"ok": False, "detail": "RuntimeError"}}
    assert client.get("/ready").status_code == 200
