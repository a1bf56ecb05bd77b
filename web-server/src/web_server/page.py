"""The page for browsers at `/`: three files, made of web-server/page by `make page`."""

import re
from pathlib import Path

from flask import Blueprint, Response, request, send_from_directory
from werkzeug.exceptions import NotFound

ASSETS = Path(__file__).parent / "page_assets"
# Only our own script file, no other host, and Trusted Types for markup.
_CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
# Browsers send some 150 characters. werkzeug reads blanks within the header in quadratic time.
_MAX_ACCEPT_LENGTH = 1024
_HTML = re.compile("text/html *(;|$)", re.IGNORECASE)
_TITLE = re.compile("<title>.*?</title>")
_WITHOUT_SCRIPT = re.compile("<noscript>.*?</noscript>", re.DOTALL)
_FILES = ("'app.js'", "'app.css'", "'icon.svg'")


def blueprint() -> Blueprint:
    """Return the routes. Callers of the API who ask for `/` get the 404 that they always got."""
    routes = Blueprint("page", __name__)

    @routes.get("/")
    def index() -> Response:
        if not is_wanted():
            raise NotFound
        return document()

    @routes.get(f"/<any({', '.join(_FILES)}):name>")
    def asset(name: str) -> Response:
        return _asset(name)

    return routes


def is_wanted() -> bool:
    """Return whether a browser navigates here: callers of the API prefer JSON, or name no HTML."""
    if len(request.headers.get("Accept", "")) > _MAX_ACCEPT_LENGTH:
        return False
    accepted = request.accept_mimetypes
    html = (quality for kind, quality in accepted if _HTML.match(kind))
    quality = max(html, default=0.0)
    return quality > 0 and quality >= accepted["application/json"]


def document() -> Response:
    """Return the page, which finds in its address what to show."""
    return _with_policy(_asset("index.html"))


def document_with(title: str, without_script: str) -> Response:
    """Return the page with these elements in place of its <title> and <noscript>."""
    html = (ASSETS / "index.html").read_text(encoding="utf-8")
    html = _TITLE.sub(lambda _: title, html)
    html = _WITHOUT_SCRIPT.sub(lambda _: without_script, html)
    return _with_policy(Response(html, mimetype="text/html"))


def _with_policy(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _CSP
    response.headers["Vary"] = "Accept"
    return response


def _asset(name: str) -> Response:
    """Return the file; browsers ask each time whether theirs is still the current one."""
    response = send_from_directory(ASSETS, name, conditional=True)
    response.headers["Cache-Control"] = "no-cache"
    return response
