"""Liveness, readiness and metrics, the same for every service."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock, Thread

from flask import Blueprint, Flask, Response, current_app, jsonify, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from idrl_common import __version__, request_ids

# Of each probe in `/ready`; they run side by side.
_PROBE_TIMEOUT_S = 3
_seconds = Histogram(
    "idrl_http_request_seconds",
    "Time to answer a request.",
    ["service", "method", "endpoint", "status"],
)


# Callers may send any word as a method, and each label is kept for ever.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True)
class Check:
    """A dependency of a service: `probe` raises when it is away.

    Without a `required` one the service is unavailable.
    """

    probe: Callable[[], None]
    required: bool = True


def blueprint(
    service: str, revision: str, checks: Mapping[str, Check], collector: Collector | None = None
) -> Blueprint:
    """Return `/health`, `/ready` and `/metrics`; `collector` adds metrics at each scrape."""
    routes = Blueprint("status", __name__)
    probers = {name: _Prober(check.probe) for name, check in checks.items()}

    @routes.get("/health")
    def health() -> Response:
        return jsonify(status="ok", service=service, version=__version__, revision=revision)

    @routes.get("/ready")
    def ready() -> tuple[Response, int]:
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined] # noqa: SLF001 # Flask's documented way
        runs = {name: prober.start(app) for name, prober in probers.items()}
        failures = {name: _failure(run) for name, run in runs.items()}
        status = _status(checks, failures)
        # nginx sets this header: callers from outside learn no details.
        if "X-Forwarded-For" in request.headers:
            return jsonify(status=status), 503 if status == "unavailable" else 200
        results = {name: _result(failure) for name, failure in failures.items()}
        return jsonify(status=status, checks=results), 503 if status == "unavailable" else 200

    @routes.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(_registry(collector)), content_type=CONTENT_TYPE_LATEST)

    return routes


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
    """Return the histogram of such requests; the lookup of the library is slower."""
    return _seconds.labels(
        service, method if method in _METHODS else "other", endpoint or "none", str(status)
    )


class _Prober:
    """Runs a probe in a thread of its own, one at a time: it may hang with its dependency."""

    def __init__(self, probe: Callable[[], None]) -> None:
        self._probe = probe
        self._lock = Lock()
        self._run: Future[None] | None = None

    def start(self, app: Flask) -> Future[None]:
        """Return the run that is under way, or else a new one."""
        with self._lock:
            if self._run is None or self._run.done():
                self._run = Future()
                Thread(target=self._fulfil, args=(app, self._run), daemon=True).start()
            return self._run

    def _fulfil(self, app: Flask, run: "Future[None]") -> None:
        try:
            with app.app_context():
                self._probe()
        except Exception as error:  # noqa: BLE001 # any failure of a probe is its result
            run.set_exception(error)
        else:
            run.set_result(None)


def _failure(run: "Future[None]") -> str | None:
    """Return the name of the error of a probe, None for success."""
    try:
        run.result(timeout=_PROBE_TIMEOUT_S)
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


def _registry(collector: Collector | None) -> CollectorRegistry:
    """Return the figures, of all processes of the server where PROMETHEUS_MULTIPROC_DIR is set."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # the library leaves it untyped
    else:
        registry = CollectorRegistry()
        registry.register(REGISTRY)
    if collector:
        registry.register(collector)
    return registry
