"""Who may call what: every endpoint needs an identity, except a short list of open ones."""

from collections.abc import Callable, Collection

from flask import Flask, g, request

from idrl_common.problems import Problem
from idrl_common.token_verifier import Identity


def require_identity(
    app: Flask, identify: Callable[[], Identity], open_endpoints: Collection[str]
) -> None:
    """Let `identify` decide about every call, unless its endpoint is listed as open.

    `identify` raises a Problem for a caller without a valid token. A path or method that does not
    exist is answered with 404 or 405 to everyone.
    """
    allowed = frozenset(open_endpoints)

    @app.before_request
    def check_access() -> None:
        if request.endpoint is not None and request.endpoint not in allowed:
            g.identity = identify()


def require_operator() -> None:
    """Raise a 403 Problem unless an operator makes the current request."""
    if caller().role != "operator":
        raise Problem(403, "operator_only", "Only operators may make this call.")


def caller() -> Identity:
    """Return who makes the current request, on an endpoint that is not open."""
    identity: Identity = g.identity
    return identity
