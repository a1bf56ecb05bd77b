"""X-HTTP-Method-Override of tus 1.0: PATCH and DELETE for callers who can send neither.

Such a call is a POST that names its method in the header. A header on any other call is ignored.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from worker_server.api import tus

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_HEADER = "HTTP_X_HTTP_METHOD_OVERRIDE"


class OverrideUploadMethods:
    """Gives a POST below /uploads the method that its header names, before it is routed."""

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        method = environ.get(_HEADER, "").upper()  # Werkzeug compares methods in upper case
        if method and environ["REQUEST_METHOD"] == "POST" and _is_upload(environ):
            environ["REQUEST_METHOD"] = method
            if method == "HEAD":
                return self._app(environ, _without_body(start_response))
        return self._app(environ, start_response)


def _is_upload(environ: "WSGIEnvironment") -> bool:
    return tus.is_about_uploads(environ.get("PATH_INFO", ""))


def _without_body(start_response: "StartResponse") -> Callable[..., Any]:
    """Set Content-Length to 0: the client sent a POST, so it would wait for the announced body."""

    def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:  # noqa: ANN401 # WSGI's
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        return start_response(status, [*kept, ("Content-Length", "0")], *error)

    return start
