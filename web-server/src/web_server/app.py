"""Builds the web app."""

from flask import Flask
from flask_swagger_ui import get_swaggerui_blueprint
from sqlalchemy.exc import NoResultFound
from werkzeug.middleware.proxy_fix import ProxyFix

from idrl_common import health
from idrl_common.cursors import CursorInvalid
from idrl_common.database import readiness_checks
from idrl_common.problems import Problem, ProblemMap
from idrl_common.service import Service, create_service
from idrl_common.token_verifier import TokenVerifier
from web_server import (
    account_removal,
    accounts,
    cli,
    db,
    gateway,
    login_throttle,
    me_views,
    page,
    passwords,
    services,
    share_views,
    tasks_client,
    views,
)
from web_server.authentication import Authenticator
from web_server.db import ENGINE_OPTIONS
from web_server.settings import Settings
from web_server.share_tokens import ShareExpired, ShareInvalid, ShareTokens
from web_server.token_signer import TokenSigner

OPEN_ENDPOINTS = frozenset(
    {
        "auth.signup",
        "auth.login",
        "contract.openapi",
        "shares.show",
        "shares.download_part",
        "shares.get_poster",
        "shares.get_contact_sheet",
        "shares.download_clips",
        "shares.get_manifest",
        "page.index",
        "page.asset",
        "swagger_ui.show",
        "status.health",
        "status.ready",
        "status.metrics",
    }
)


def _too_many_failures(error: login_throttle.TooManyFailures) -> Problem:
    headers = {
        "Retry-After": str(error.retry_after_s),
        "RateLimit-Policy": f'"{error.limit_name}";q={error.quota};w={error.window_s}',
        "RateLimit": f'"{error.limit_name}";r=0;t={error.retry_after_s}',
    }
    return Problem(429, "too_many_requests", str(error), headers=headers)


PROBLEMS: ProblemMap = {
    passwords.TooBusy: (503, "too_busy", 1),
    services.BadCredentials: (401, "bad_credentials"),
    services.AccountDisabled: (403, "account_disabled"),
    services.InvitationInvalid: (403, "invitation_invalid"),
    CursorInvalid: (400, "cursor_invalid"),
    accounts.KeyNotFound: (404, "key_not_found"),
    accounts.TooManyKeys: (409, "too_many_keys"),
    NoResultFound: (401, "token_invalid"),
    account_removal.TasksStillRunning: (503, "tasks_still_running", 5),
    ShareInvalid: (404, "link_not_found"),
    ShareExpired: (410, "link_expired"),
    services.UsernameTaken: (409, "username_taken"),
    services.EmailTaken: (409, "email_taken"),
    login_throttle.TooManyFailures: _too_many_failures,
    tasks_client.TasksUnavailable: (502, "tasks_unavailable"),
    tasks_client.TasksTimeout: (504, "tasks_timeout"),
}


def create_app(settings: Settings) -> Flask:
    """Return the app. Connects to nothing yet.

    Raises ValueError when the keys are not Ed25519 or do not belong together.
    """
    verifier = TokenVerifier(settings.jwt_public_key)
    signer = TokenSigner(settings.jwt_private_key, verifier)
    authenticator = Authenticator(verifier, signer)
    service = Service(
        "web", __name__, ENGINE_OPTIONS, PROBLEMS, authenticator.identify, OPEN_ENDPOINTS
    )
    app = create_service(service, settings)
    if settings.accel_redirect:  # only nginx reaches this app, so trust its X-Forwarded-For
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1)  # type: ignore[method-assign] # Flask's documented way
    db.install(app)
    app.cli.add_command(cli.users)
    _add_routes(app, settings, authenticator, signer)
    return app


def _add_routes(
    app: Flask, settings: Settings, authenticator: Authenticator, signer: TokenSigner
) -> None:
    tasks = tasks_client.TasksService(
        str(settings.tasks_url),
        connect_timeout_s=settings.tasks_connect_timeout_s,
        timeout_s=settings.tasks_timeout_s,
        pool_size=settings.tasks_pool_size,
        authority=settings.tasks_ca,
    )
    limit = login_throttle.Limit(
        settings.login_failures_max, settings.login_window_s, settings.login_strangers_max
    )
    auth = views.AuthService(authenticator, signer, limit, settings.signup)
    app.register_blueprint(views.auth_blueprint(auth))
    sample_url = str(settings.sample_url) if settings.sample_url else None
    app.register_blueprint(me_views.blueprint(auth, tasks, sample_url))
    app.register_blueprint(views.contract_blueprint(settings.openapi_path))
    app.register_blueprint(page.blueprint())
    app.register_blueprint(get_swaggerui_blueprint("/docs", "/openapi.json", {"app_name": "idrl"}))
    disk = None if settings.clip_cache_size == "0" else settings.clip_cache_disk
    clips = gateway.Clips(accel_redirect=settings.accel_redirect, disk=disk)
    app.register_blueprint(gateway.blueprint(tasks, clips))
    tokens = ShareTokens(settings.jwt_private_key, settings.jwt_public_key)
    links = share_views.Links(tokens, authenticator, tasks, clips)
    app.register_blueprint(share_views.blueprint(links))
    checks = {
        **readiness_checks(db.transaction),
        "tasks": health.Check(tasks.ping, required=False),
    }
    status = health.Status("web", settings.revision, checks, settings.process_folder)
    app.register_blueprint(health.blueprint(status))
