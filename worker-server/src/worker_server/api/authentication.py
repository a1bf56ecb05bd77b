"""Every request needs a token, but for a short list of endpoints that operators and probes ask without one."""

from flask import Flask, g, request

from idrl_common.tokens import Identity, TokenVerifier, identify

OPEN_ENDPOINTS = frozenset({"status.health", "status.ready", "status.metrics"})


def install(app: Flask, verifier: TokenVerifier) -> None:
    """Identify the caller before any view runs; a request that no view takes needs no token, to learn that."""

    @app.before_request
    def authenticate() -> None:
        if request.endpoint is not None and request.endpoint not in OPEN_ENDPOINTS:
            g.caller = identify(verifier)


def caller() -> Identity:
    """Return who makes the current request."""
    identity: Identity = g.caller
    return identity
