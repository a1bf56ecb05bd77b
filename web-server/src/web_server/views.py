"""Sign-up, log-in and the contract: each call parses, calls one service and answers."""

import json
from functools import cache
from pathlib import Path

import yaml
from flask import Blueprint, Response, jsonify, request

from idrl_common.problems import Problem
from idrl_common.validation import parse_body
from web_server import services
from web_server.login_throttle import Limit, TooManyFailures
from web_server.schemas import LogIn, SignUp
from web_server.tokens import LIFETIME_S, TokenSigner

_MAX_BODY_BYTES = 8 * 1024
_UNKNOWN = "0.0.0.0"  # noqa: S104 # who calls through a socket without addresses


def auth_blueprint(signer: TokenSigner, limit: Limit) -> Blueprint:
    """Return the routes below /auth."""
    routes = Blueprint("auth", __name__, url_prefix="/auth")

    @routes.before_request
    def limit_body() -> None:
        request.max_content_length = _MAX_BODY_BYTES

    @routes.post("/signup")
    def signup() -> tuple[Response, int]:
        body = parse_body(SignUp)
        user_id = services.create_user(body.username, body.email, body.password)
        return jsonify(user_id=user_id, username=body.username, email=body.email), 201

    @routes.post("/login")
    def login() -> Response:
        body = parse_body(LogIn)
        token = signer.sign(_authenticated(body, limit))
        response = jsonify(token=token, token_type="Bearer", expires_in=LIFETIME_S)  # noqa: S106 # the kind of token
        response.headers["Cache-Control"] = "no-store"
        return response

    return routes


def _authenticated(body: LogIn, limit: Limit) -> int:
    try:
        return services.authenticate(
            body.email, body.password, request.remote_addr or _UNKNOWN, limit
        )
    except TooManyFailures as error:
        headers = {"Retry-After": str(error.retry_after_s)}
        raise Problem(429, "too_many_requests", str(error), headers=headers) from error


def contract_blueprint(openapi_path: Path) -> Blueprint:
    """Return the route that serves the description of the API."""
    routes = Blueprint("contract", __name__)

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return Response(_as_json(openapi_path), mimetype="application/json")

    return routes


@cache
def _as_json(path: Path) -> str:
    return json.dumps(yaml.safe_load(path.read_text("utf-8")), ensure_ascii=False)
