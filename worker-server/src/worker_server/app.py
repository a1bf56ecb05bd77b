"""Builds the tasks service; the Celery workers run inside the same app."""

import redis
from flask import Flask

from idrl_common import health
from idrl_common.problems import Problem, ProblemMap
from idrl_common.service import Service, create_service
from idrl_common.token_verifier import TokenVerifier, identify
from worker_server import db, settings as settings_module, storage
from worker_server.api import queries, views
from worker_server.api.clips import ClipSender
from worker_server.api.metrics import WorkCollector
from worker_server.celery_app import init_celery
from worker_server.fetching import UrlRefused
from worker_server.media import sandbox_report
from worker_server.queue.submissions import IdempotencyKeyReused
from worker_server.settings import Settings

OPEN_ENDPOINTS = frozenset({"status.health", "status.ready", "status.metrics"})


def _url_refused(error: UrlRefused) -> Problem:
    return Problem(400, error.code, error.message)


PROBLEMS: ProblemMap = {
    queries.TaskNotFound: (404, "task_not_found"),
    queries.PartNotFound: (404, "part_not_found"),
    queries.PartNotReady: (409, "part_not_ready"),
    IdempotencyKeyReused: (422, "idempotency_key_reused"),
    UrlRefused: _url_refused,
}


def create_app(settings: Settings) -> Flask:
    """Return the app, which connects to nothing yet."""
    verifier = TokenVerifier(settings.jwt_public_key)
    service = Service(
        "tasks", __name__, db.ENGINE_OPTIONS, PROBLEMS, lambda: identify(verifier), OPEN_ENDPOINTS
    )
    app = create_service(service, settings)
    with app.app_context():
        settings_module.attach(settings)
    db.install(app)
    init_celery(app, settings)
    app.register_blueprint(views.blueprint(ClipSender(settings.remote_folder)))
    app.register_blueprint(
        health.blueprint(
            "tasks",
            settings.revision,
            checks(settings),
            WorkCollector(app, lambda: sandbox_report().level),
        )
    )
    return app


def checks(settings: Settings) -> dict[str, health.Check]:
    """Return what the service depends on; it accepts tasks without Redis or the share."""
    client = redis.Redis.from_url(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)
    return {
        "database": health.Check(queries.ping),
        "redis": health.Check(lambda: _ping(client), required=False),
        "sandbox": health.Check(_check_sandbox, required=False),
        "share": health.Check(lambda: storage.check(settings.remote_folder), required=False),
    }


class NoSandbox(Exception):
    """The sandbox of the decoders does not hold on this machine."""


def _check_sandbox() -> None:
    if not sandbox_report().holds:
        raise NoSandbox


def _ping(client: redis.Redis) -> None:
    client.ping()
