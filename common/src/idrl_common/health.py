"""Liveness, readiness and metrics, the same for every service."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock, Thread
from typing import Generic, TypeVar

from flask import Blueprint, Flask, Response, current_app, jsonify, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from idrl_common import __version__, processes, request_ids

T = TypeVar("T")
# For all probes of `/ready` together; they run in parallel.
_PROBE_TIMEOUT_S = 3
_seconds = Histogram(
    "idrl_http_request_seconds",
    "Time to answer a request.",
    ["service", "method", "endpoint", "status"],
)


# Callers may send any word as a method, and Prometheus keeps each value of a label.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


_GAUGES = (
    ("idrl_build_info", "1 for the running version.", ["version", "revision"]),
    ("idrl_service_start_time_seconds", "Start of the service's main process.", ["service"]),
    ("idrl_check_ok", "Whether a check of /ready holds.", ["check"]),
    ("idrl_process_up", "Whether a process of the installation runs.", ["process"]),
    ("idrl_process_start_time_seconds", "Start of the process, 0 when it is down.", ["process"]),
)


class ProcessDown(Exception):
    """A process of the installation has ended, or was stopped by a signal."""


@dataclass(frozen=True)
class Check:
    """A dependency of a service: `probe` raises when it is unavailable.

    Without a `required` one the service is unavailable.
    """

    probe: Callable[[], None]
    required: bool = True


@dataclass(frozen=True)
class Status:
    """What `/health` and `/ready` show: name, version, and the checks of dependencies.

    `process_folder` holds the locked pid files of all processes of the installation.
    """

    service: str
    revision: str
    checks: Mapping[str, Check]
    process_folder: Path | None = None


def blueprint(
    status: Status, collector: Collector | None = None, *, timeout_s: float = _PROBE_TIMEOUT_S
) -> Blueprint:
    """Return `/health`, `/ready` and `/metrics`; `collector` adds metrics at each scrape."""
    routes = Blueprint("status", __name__)
    checks = _all_checks(status)
    probers = _Probers(checks, timeout_s)
    service = ServiceCollector(status, probers.failures)
    collectors = [service, collector] if collector else [service]

    @routes.get("/health")
    def health() -> Response:
        return jsonify(
            status="ok", service=status.service, version=__version__, revision=status.revision
        )

    @routes.get("/ready")
    def ready() -> tuple[Response, int]:
        failures = probers.failures()
        status = _status(checks, failures)
        code = 503 if status == "unavailable" else 200
        # nginx sets this header: callers from outside learn no details.
        if "X-Forwarded-For" in request.headers:
            return jsonify(status=status), code
        results = {name: _result(failure) for name, failure in failures.items()}
        return jsonify(status=status, checks=results), code

    @routes.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(_registry(collectors)), content_type=CONTENT_TYPE_LATEST)

    return routes


def _all_checks(status: Status) -> dict[str, Check]:
    folder = status.process_folder
    if folder is None:
        return dict(status.checks)
    return {**status.checks, "processes": Check(lambda: _check_processes(folder), required=False)}


def _check_processes(folder: Path) -> None:
    down = [state.name for state in processes.read_states(folder) if not state.is_up]
    if down:
        raise ProcessDown(", ".join(down))


def install(app: Flask, service: str) -> None:
    """Time every request of the app. Needs `request_ids`."""

    @app.after_request
    def count(response: Response) -> Response:
        _timer(service, request.method, request.endpoint, response.status_code).observe(
            request_ids.elapsed_s()
        )
        return response


@lru_cache(1024)
def _timer(service: str, method: str, endpoint: str | None, status: int) -> Histogram:
    """Return the histogram of such requests, cached: prometheus_client's `labels` is slower."""
    return _seconds.labels(
        service, method if method in _METHODS else "other", endpoint or "none", str(status)
    )


class Prober(Generic[T]):
    """Runs a probe in a thread of its own, one at a time: it may hang with its dependency."""

    def __init__(self, probe: Callable[[], T]) -> None:
        self._probe = probe
        self._lock = Lock()
        self._run: Future[T] | None = None

    def start(self, app: Flask) -> Future[T]:
        """Return the run that is under way, or else a new one."""
        with self._lock:
            if self._run is None or self._run.done():
                self._run = Future()
                self._begin(app, self._run)
            return self._run

    def _begin(self, app: Flask, run: "Future[T]") -> None:
        try:
            Thread(target=self._run_probe, args=(app, run), daemon=True).start()
        except RuntimeError as error:  # this machine has no thread left
            run.set_exception(error)

    def _run_probe(self, app: Flask, run: "Future[T]") -> None:
        try:
            with app.app_context():
                outcome = self._probe()
        except Exception as error:  # noqa: BLE001 # any failure of a probe is its result
            run.set_exception(error)
        else:
            run.set_result(outcome)


class _Probers:
    """Runs all probes side by side, within one time limit."""

    def __init__(self, checks: Mapping[str, Check], timeout_s: float) -> None:
        self._probers = {name: Prober(check.probe) for name, check in checks.items()}
        self._timeout_s = timeout_s

    def failures(self) -> dict[str, str | None]:
        """Return the name of the error of each probe, None for success."""
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined] # noqa: SLF001 # Flask's documented way
        deadline = time.monotonic() + self._timeout_s
        runs = {name: prober.start(app) for name, prober in self._probers.items()}
        return {name: _failure(run, deadline - time.monotonic()) for name, run in runs.items()}


def _failure(run: "Future[None]", timeout_s: float) -> str | None:
    try:
        run.result(timeout=max(0.0, timeout_s))
    except Exception as error:  # noqa: BLE001 # any failure of a probe is its result
        return type(error).__name__
    return None


def _status(checks: Mapping[str, Check], failures: Mapping[str, str | None]) -> str:
    failed = [name for name, failure in failures.items() if failure]
    if any(checks[name].required for name in failed):
        return "unavailable"
    return "degraded" if failed else "ready"


def _result(failure: str | None) -> dict[str, object]:
    return {"ok": False, "detail": failure} if failure else {"ok": True}


def _registry(collectors: Iterable[Collector]) -> CollectorRegistry:
    """Return the figures, of all processes of the server where PROMETHEUS_MULTIPROC_DIR is set."""
    registry = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # the library leaves it untyped
    else:
        registry.register(REGISTRY)
    for collector in collectors:
        registry.register(collector)
    return registry


class ServiceCollector(Collector):
    """Metrics that every service has: build, start time, checks and processes."""

    def __init__(self, status: Status, failures: Callable[[], Mapping[str, str | None]]) -> None:
        self._status = status
        self._failures = failures

    def collect(self) -> Iterator[Metric]:
        build, started, checks, up, process_started = self.describe()
        build.add_metric([__version__, self._status.revision], 1)
        # The start of the parent, gunicorn's main process: workers come and go.
        if "gunicorn" in sys.modules and (at := processes.started_at(os.getppid())):
            started.add_metric([self._status.service], at)
        for name, failure in self._failures().items():
            checks.add_metric([name], failure is None)
        for state in self._processes():
            up.add_metric([state.name], state.is_up)
            process_started.add_metric([state.name], state.started_at)
        yield from (build, started, checks, up, process_started)

    def describe(self) -> list[GaugeMetricFamily]:
        """Describe the metrics without running a check."""
        return [GaugeMetricFamily(name, text, labels=labels) for name, text, labels in _GAUGES]

    def _processes(self) -> list[processes.ProcessState]:
        folder = self._status.process_folder
        return processes.read_states(folder) if folder else []
