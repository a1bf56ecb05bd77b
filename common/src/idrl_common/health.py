"""What operators ask every service: is it alive, can it work, what has it counted."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from flask import Blueprint, Flask, Response, jsonify, request
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

_seconds = Histogram(
    "idrl_http_request_seconds",
    "Time to answer a request.",
    ["service", "method", "endpoint", "status"],
)


# A caller may send any word as a method; each label would be kept for ever.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True)
class Check:
    """One thing a service depends on: `probe` raises when it is away; without a `required` one there is no service."""

    probe: Callable[[], None]
    required: bool = True


def blueprint(
    service: str, revision: str, checks: Mapping[str, Check], collector: Collector | None = None
) -> Blueprint:
    """Return `/health`, `/ready` and `/metrics`; `collector` adds metrics that are read at each scrape."""
    routes = Blueprint("status", __name__)

    @routes.get("/health")
    def health() -> Response:
        return jsonify(status="ok", service=service, version=__version__, revision=revision)

    @routes.get("/ready")
    def ready() -> tuple[Response, int]:
        failures = {name: _failure(check) for name, check in checks.items()}
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
    """Time every request of the app. Needs `context`."""

    @app.after_request
    def count(response: Response) -> Response:
        _timer(service, request.method, request.endpoint, response.status_code).observe(
            request_ids.elapsed_s()
        )
        return response


@lru_cache(1024)
def _timer(service: str, method: str, endpoint: str | None, status: int) -> Histogram:
    """Return what counts such requests; the library takes longer to find it."""
    return _seconds.labels(
        service, method if method in _METHODS else "other", endpoint or "none", str(status)
    )


def _failure(check: Check) -> str | None:
    try:
        check.probe()
    except Exception as error:  # noqa: BLE001 # whatever goes wrong in a probe is its answer
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
    """Return the figures of all processes of the server, where the library's own variable says it has several."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # the library leaves it untyped
    else:
        registry = CollectorRegistry()
        registry.register(REGISTRY)
    if collector:
        registry.register(collector)
    return registry
