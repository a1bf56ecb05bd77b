"""WSGI middleware."""

import re
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from werkzeug.wsgi import ClosingIterator

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_SLASHES = re.compile("/{2,}")
_CHUNK_BYTES = 64 * 1024
# nginx's general limit of a body (client_max_body_size).
_DRAINED_BYTES = 1024 * 1024
# An app sets this in `environ` where a body may be slow: the rest is read after the response.
DRAIN_AFTERWARDS = "idrl.drain_afterwards"


class CollapseSlashes:
    """Collapses repeated slashes in the path; a redirect is not followed after DELETE."""

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        environ["PATH_INFO"] = _SLASHES.sub("/", environ.get("PATH_INFO", ""))
        return self._app(environ, start_response)


class DrainBody:
    """Reads what the app left of the body before the response is sent.

    gunicorn closes a connection on which more than 64 KiB of a body are left, and a caller that is
    still sending gets a reset where the refusal should be.
    """

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        response = self._app(environ, start_response)
        if environ.get(DRAIN_AFTERWARDS):
            return ClosingIterator(response, [partial(_drain_quietly, environ)])
        # Without wsgi.input_terminated, reading past the body may block.
        if environ.get("wsgi.input_terminated") and environ.get("CONTENT_LENGTH"):
            _drain_quietly(environ)
        return response


def _drain_quietly(environ: "WSGIEnvironment") -> None:
    with suppress(OSError):  # the client has disconnected
        _drain(environ)


def _drain(environ: "WSGIEnvironment") -> None:
    left_bytes = _DRAINED_BYTES
    while left_bytes > 0 and (chunk := environ["wsgi.input"].read(_CHUNK_BYTES)):
        left_bytes -= len(chunk)
