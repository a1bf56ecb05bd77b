"""Answers calls below /uploads before the rest of their body, which nginx passes on as it comes."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from idrl_common.wsgi import DRAIN_AFTERWARDS
from worker_server.api import tus

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class AnswerBeforeBody:
    """Middleware: what calls about uploads leave of their body is read after the response.

    Includes methods and paths that do not exist, which no blueprint's hook sees: a client that
    sends such a body slowly would occupy a thread for as long.
    """

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        if tus.is_about_uploads(environ.get("PATH_INFO", "")):
            environ[DRAIN_AFTERWARDS] = True
        return self._app(environ, start_response)
