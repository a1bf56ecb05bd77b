"""Builds the tasks service; the Celery workers run inside the same app."""

from collections.abc import Mapping

from flask import Flask

from idrl_common import health
from idrl_common.cursors import CursorInvalid
from idrl_common.problems import FieldError, Problem, ProblemMap
from idrl_common.service import Service, create_service
from idrl_common.token_verifier import TokenVerifier, identify
from worker_server import cli, db, readiness, redis_client, settings as settings_module
from worker_server.api import (
    archive_views,
    batch_views,
    brand_views,
    change_views,
    clip_queries,
    long_documents,
    poster_views,
    queries,
    rate_limits,
    services,
    status_views,
    upload_views,
    usage_views,
    views,
    webhook_views,
)
from worker_server.api.archives import ArchiveSender, NoClips
from worker_server.api.batch_queries import BatchNotFound
from worker_server.api.clips import ClipSender
from worker_server.api.method_override import OverrideUploadMethods
from worker_server.api.metrics import WorkCollector
from worker_server.api.poster_queries import PosterNotFound
from worker_server.api.served_bytes import ServedBytes
from worker_server.api.upload_bodies import AnswerBeforeBody
from worker_server.api.upload_choices import UPLOAD_PROBLEMS
from worker_server.brand_drafts import BrandsBusy
from worker_server.brand_making import draw_preview, make_brand
from worker_server.celery_app import init_celery
from worker_server.errors import FailureCode
from worker_server.fetching import UrlRefused
from worker_server.media import sandbox_report
from worker_server.media.branding.normalize import BrandFileRefused
from worker_server.queue import brands, uploads, wakeups, webhook_rows
from worker_server.queue.idempotency import IdempotencyKeyReused
from worker_server.queue.planning import NotPlanned
from worker_server.queue.quotas import QuotaExceeded
from worker_server.queue.requeueing import NotFailed
from worker_server.settings import Settings
from worker_server.share_monitor import ShareMonitor
from worker_server.storage import ShareAway
from worker_server.upload_files import UploadBusy

# The probe of Redis must time out before /ready does, and /ready before the web app's request.
_PROBE_S, _READY_S = 1.0, 2.0
OPEN_ENDPOINTS = frozenset({"status.health", "status.ready", "status.metrics"})


def _url_refused(error: UrlRefused) -> Problem:
    return Problem(400, error.code, error.message)


def _brand_file_refused(error: BrandFileRefused) -> Problem:
    wrong: FieldError = {"field": error.field, "code": error.fault, "message": str(error)}
    return Problem(422, error.fault, str(error), errors=[wrong])


PROBLEMS: ProblemMap = {
    db.AccountDeleted: (401, "token_invalid"),
    QuotaExceeded: rate_limits.refusal,
    queries.TaskNotFound: (404, "task_not_found"),
    clip_queries.PartNotFound: (404, "part_not_found"),
    clip_queries.PartNotReady: (409, "part_not_ready"),
    BatchNotFound: (404, "batch_not_found"),
    PosterNotFound: (404, "no_poster"),
    NotFailed: (409, "not_failed"),
    NotPlanned: (409, "not_planned"),
    CursorInvalid: (400, "cursor_invalid"),
    NoClips: (409, "no_clips"),
    **UPLOAD_PROBLEMS,
    uploads.OffsetChanged: (409, "upload_offset"),
    uploads.TooManyUploads: (429, "too_many_uploads"),
    brands.BrandNotFound: (404, "brand_not_found"),
    brands.TooManyBrands: (429, "too_many_brands"),
    webhook_rows.WebhookNotFound: (404, "webhook_not_found"),
    webhook_rows.TooManyWebhooks: (429, "too_many_webhooks"),
    webhook_rows.TooManyTests: (429, "too_many_requests"),
    webhook_rows.WebhookDisabled: (409, "webhook_disabled"),
    BrandFileRefused: _brand_file_refused,
    BrandsBusy: (503, "brands_busy", 5),
    ShareAway: (503, FailureCode.STORAGE_UNAVAILABLE),
    UploadBusy: (423, "upload_busy", 2),
    IdempotencyKeyReused: (422, "idempotency_key_reused"),
    UrlRefused: _url_refused,
}


def create_app(
    settings: Settings, engine_options: Mapping[str, object] = db.ENGINE_OPTIONS
) -> Flask:
    """Return the app, which connects to nothing yet."""
    verifier = TokenVerifier(settings.jwt_public_key)
    service = Service(
        "tasks", __name__, engine_options, PROBLEMS, lambda: identify(verifier), OPEN_ENDPOINTS
    )
    app = create_service(service, settings)
    middleware = OverrideUploadMethods(AnswerBeforeBody(app.wsgi_app))
    app.wsgi_app = middleware  # type: ignore[method-assign] # Flask's documented way
    with app.app_context():
        settings_module.attach(settings)
    db.install(app)
    long_documents.install(app)
    init_celery(app, settings)
    wakeups.install(app)
    cli.install(app)
    share = ShareMonitor(settings.remote_folder, settings.storage_reserve_bytes)
    _register_calls(app, settings, share)
    _register_health(app, settings, share)
    return app


def _register_calls(app: Flask, settings: Settings, share: ShareMonitor) -> None:
    served = ServedBytes(app)
    clips = ClipSender(settings.remote_folder, served.add)
    archives = ArchiveSender(settings.remote_folder, served.add, services.record_lost_file)
    app.register_blueprint(views.blueprint(clips, share))
    app.register_blueprint(change_views.blueprint(share))
    app.register_blueprint(batch_views.blueprint(share))
    app.register_blueprint(poster_views.blueprint(clips, settings.remote_folder, served.add))
    app.register_blueprint(archive_views.blueprint(archives))
    app.register_blueprint(upload_views.blueprint(share))
    app.register_blueprint(brand_views.blueprint(share, make_brand, draw_preview))
    app.register_blueprint(usage_views.blueprint())
    app.register_blueprint(webhook_views.blueprint())
    app.register_blueprint(status_views.blueprint(share))


def _register_health(app: Flask, settings: Settings, share: ShareMonitor) -> None:
    client = redis_client.connect(settings, timeout_s=_PROBE_S)
    checks = readiness.checks(settings, share, client)
    collector = WorkCollector(app, share, lambda: sandbox_report().level, client)
    status = health.Status("tasks", settings.revision, checks, settings.process_folder)
    app.register_blueprint(health.blueprint(status, collector, timeout_s=_READY_S))
