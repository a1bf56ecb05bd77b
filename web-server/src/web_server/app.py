"""Builds the web app."""

from flask import Flask
from flask_swagger_ui import get_swaggerui_blueprint
from werkzeug.middleware.proxy_fix import ProxyFix

from idrl_common import health, json_provider, logs, problems, request_ids
from idrl_common.settings import MAX_BODY_BYTES
from idrl_common.tokens import TokenVerifier
from web_server import gateway, services, views
from web_server.db import ENGINE_OPTIONS, db
from web_server.login_throttle import Limit
from web_server.settings import Settings
from web_server.tokens import TokenSigner

PROBLEMS: problems.ProblemMap = {
    services.BadCredentials: (401, "bad_credentials"),
    services.UsernameTaken: (409, "username_taken"),
    services.EmailTaken: (409, "email_taken"),
    gateway.TasksUnavailable: (502, "tasks_unavailable"),
    gateway.TasksTimeout: (504, "tasks_timeout"),
}


def create_app(settings: Settings) -> Flask:
    """Return the app: settings, extensions, errors, routes, in this order. Connects to nothing yet.

    Raises ValueError when the keys are not Ed25519 or do not belong together.
    """
    app = Flask(__name__, static_folder=None)
    app.config.update(
        SQLALCHEMY_DATABASE_URI=settings.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=ENGINE_OPTIONS,
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
    )
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # CollapseSlashes does it, without a redirect
    if settings.accel_redirect:  # only nginx can reach us, and says who calls
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=0)  # type: ignore[method-assign] # Flask's documented way
    verifier = TokenVerifier(settings.jwt_public_key)
    signer = TokenSigner(settings.jwt_private_key, verifier)
    tasks = gateway.TasksService(
        str(settings.tasks_url),
        connect_timeout_s=settings.tasks_connect_timeout_s,
        timeout_s=settings.tasks_timeout_s,
        pool_size=settings.tasks_pool_size,
    )
    db.init_app(app)
    json_provider.install(app)
    request_ids.install(app)
    logs.install(app)
    health.install(app, "web")
    problems.install(app, PROBLEMS)
    app.register_blueprint(
        views.auth_blueprint(signer, Limit(settings.login_failures_max, settings.login_window_s))
    )
    app.register_blueprint(views.contract_blueprint(settings.openapi_path))
    app.register_blueprint(get_swaggerui_blueprint("/docs", "/openapi.json", {"app_name": "idrl"}))
    disk = None if settings.clip_cache_size == "0" else settings.clip_cache_disk
    clips = gateway.Clips(accel_redirect=settings.accel_redirect, disk=disk)
    app.register_blueprint(gateway.blueprint(verifier, tasks, clips))
    checks = {
        "database": health.Check(services.ping),
        "tasks": health.Check(tasks.ping, required=False),
    }
    app.register_blueprint(health.blueprint("web", settings.revision, checks))
    return app
