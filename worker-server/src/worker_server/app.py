"""Builds the tasks service; the Celery workers run inside the same app."""

import redis
from flask import Flask

from idrl_common import health, json_provider, logs, problems, request_ids, tokens
from idrl_common.settings import MAX_BODY_BYTES
from worker_server import db, settings as settings_module, storage
from worker_server.api import authentication, queries, views
from worker_server.api.clips import ClipSender
from worker_server.api.metrics import WorkCollector
from worker_server.celery_app import init_celery
from worker_server.fetching import UrlRefused
from worker_server.queue.submissions import IdempotencyKeyReused
from worker_server.settings import Settings

PROBLEMS: problems.ProblemMap = {
    queries.TaskNotFound: (404, "task_not_found"),
    queries.PartNotFound: (404, "part_not_found"),
    queries.PartNotReady: (409, "part_not_ready"),
    IdempotencyKeyReused: (422, "idempotency_key_reused"),
}


def create_app(settings: Settings) -> Flask:
    """Return the app: settings, extensions, errors, routes, in this order. Connects to nothing yet."""
    app = Flask(__name__, static_folder=None)
    app.config.update(
        SQLALCHEMY_DATABASE_URI=settings.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=db.ENGINE_OPTIONS,
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
    )
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    with app.app_context():
        settings_module.attach(settings)
    db.install(app)
    init_celery(app, settings)
    json_provider.install(app)
    request_ids.install(app)
    logs.install(app)
    health.install(app, "tasks")
    problems.install(app, PROBLEMS)
    app.register_error_handler(UrlRefused, views.url_refused)
    authentication.install(app, tokens.TokenVerifier(settings.jwt_public_key))
    app.register_blueprint(views.blueprint(ClipSender(settings.remote_folder)))
    app.register_blueprint(
        health.blueprint("tasks", settings.revision, checks(settings), WorkCollector(app))
    )
    return app


def checks(settings: Settings) -> dict[str, health.Check]:
    """Return what the service depends on; it accepts tasks without Redis or the share."""
    client = redis.Redis.from_url(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)
    return {
        "database": health.Check(queries.ping),
        "redis": health.Check(lambda: _ping(client), required=False),
        "share": health.Check(lambda: storage.check(settings.remote_folder), required=False),
    }


def _ping(client: redis.Redis) -> None:
    client.ping()
