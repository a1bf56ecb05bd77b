"""The cookie that keeps a browser logged in: the token, out of reach of scripts.

nginx alone turns it into the Authorization header, and only for calls of our own page.
"""

from flask import Response, request

from web_server.token_signer import LIFETIME_S

# A browser takes the second name only over TLS, for this host and every path (RFC 6265bis §4.1.3).
_PLAIN, _SECURE = "idrl", "__Host-idrl"


def is_given() -> bool:
    """Return whether the current request has the cookie."""
    return _name() in request.cookies


def set_cookie(response: Response, token: str) -> None:
    """Let the browser keep the token until it expires."""
    response.set_cookie(
        _name(),
        token,
        max_age=LIFETIME_S,
        path="/",
        secure=_is_tls(),
        httponly=True,
        samesite="Strict",
    )


def clear(response: Response) -> None:
    """Let the browser forget the token."""
    response.delete_cookie(_name(), path="/", secure=_is_tls(), httponly=True, samesite="Strict")


def _name() -> str:
    return _SECURE if _is_tls() else _PLAIN


def _is_tls() -> bool:
    """Return whether the browser speaks TLS with nginx, which sets this header itself."""
    return request.headers.get("X-Forwarded-Proto") == "https"
