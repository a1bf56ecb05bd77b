"""Builds what both apps share: limits, JSON, request ids, logs, metrics, problems, access."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask
from werkzeug.routing import IntegerConverter

from idrl_common import access, health, json_provider, logs, problems, request_ids
from idrl_common.settings import MAX_BODY_BYTES, AppSettings
from idrl_common.token_verifier import Identity
from idrl_common.wsgi import CollapseSlashes, DrainBody


@dataclass(frozen=True)
class Service:
    """What differs between the apps.

    `name` stands in log lines and metrics. `open_endpoints` are those that need no token;
    `identify` returns who calls any other one, or raises a Problem.
    """

    name: str
    import_name: str
    engine_options: Mapping[str, object]
    problem_map: problems.ProblemMap
    identify: Callable[[], Identity]
    open_endpoints: Collection[str]


class _SynchronousFlask(Flask):
    """Flask whose views are never coroutines.

    Flask inspects every view and hook at every request, seven for one task.
    """

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


class _IntegerConverter(IntegerConverter):
    """Integers in paths, written in ASCII: werkzeug takes the digits of any script."""

    regex = "[0-9]+"


def create_service(service: Service, settings: AppSettings) -> Flask:
    """Return an app without routes of its own. Connects to nothing yet."""
    app = _SynchronousFlask(service.import_name, static_folder=None)
    app.config.update(
        SQLALCHEMY_DATABASE_URI=settings.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=dict(service.engine_options),
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
    )
    app.url_map.converters["int"] = _IntegerConverter
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # CollapseSlashes does it, without a redirect
    middleware = DrainBody(CollapseSlashes(app.wsgi_app))
    app.wsgi_app = middleware  # type: ignore[method-assign] # Flask's documented way
    json_provider.install(app)
    # In this order: a request has its id and its start time before anything may refuse it.
    request_ids.install(app)
    logs.install(app)
    health.install(app, service.name)
    problems.install(app, service.problem_map)
    access.require_identity(app, service.identify, service.open_endpoints)
    return app
