"""Sign-up, log-in and the contract: each call parses, calls one service and answers."""

import json
from functools import cache
from pathlib import Path

import yaml
from flask import Blueprint, Response, jsonify, request

from idrl_common.validation import parse_body
from web_server import services
from web_server.documents import token_document, user_document
from web_server.login_throttle import Limit, LoginThrottle
from web_server.schemas import LogIn, SignUp
from web_server.token_signer import TokenSigner

_MAX_BODY_BYTES = 8 * 1024


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
        # The address is known from now on: its log-ins are not slowed by those of strangers.
        throttle(body.email).reset()
        return jsonify(user_document(user_id, body.username, body.email)), 201

    @routes.post("/login")
    def login() -> Response:
        body = parse_body(LogIn)
        user_id = services.authenticate(body.email, body.password, throttle(body.email))
        response = jsonify(token_document(signer.sign(user_id)))
        response.headers["Cache-Control"] = "no-store"
        return response

    def throttle(email: str) -> LoginThrottle:
        return LoginThrottle.of(email, request.remote_addr, limit)

    return routes


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
