"""Sign-up, log-in and the contract: each call parses, calls one service and answers."""

import json
import logging
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from flask import Blueprint, Response, jsonify, request
from prometheus_client import Counter

from idrl_common.access import caller
from idrl_common.problems import Problem
from idrl_common.validation import parse_body
from web_server import accounts, services, session_cookie, sessions
from web_server.authentication import Authenticator, reads_account_now
from web_server.documents import token_document, user_document
from web_server.login_throttle import Limit, LoginThrottle, TooManyFailures, account_of
from web_server.models import User
from web_server.passwords import TooBusy
from web_server.schemas import ChangePassword, LogIn, SignUp
from web_server.services import AccountDisabled, BadCredentials
from web_server.token_signer import TokenSigner

# For how long after a log-in its tokens can be refreshed.
REFRESH_S = 12 * 3600
_MAX_BODY_BYTES = 8 * 1024
_log = logging.getLogger(__name__)
LOGINS = Counter("idrl_logins_total", "Passwords that were checked, by outcome.", ["outcome"])
_REFUSALS: dict[type[Exception], str] = {
    BadCredentials: "bad_credentials",
    AccountDisabled: "account_disabled",
    TooManyFailures: "throttled",
    TooBusy: "too_busy",
}
for _outcome in ("ok", *_REFUSALS.values()):
    LOGINS.labels(_outcome)  # start at 0: Prometheus misses a counter's first increase otherwise


@dataclass(frozen=True)
class AuthService:
    """Checks passwords within the limit on guesses; `signup` says who may make an account."""

    authenticator: Authenticator
    signer: TokenSigner
    limit: Limit
    signup: Literal["open", "invite", "closed"]

    def throttle(self, email: str) -> LoginThrottle:
        """Return the throttle of the current caller at this account."""
        return LoginThrottle.of(email, request.remote_addr, self.limit)

    def authenticate(self, email: str, password: str) -> User:
        """Return the account of this email and password; log and count a refusal.

        The log names the account by a part of the hash of its email. Raise BadCredentials,
        AccountDisabled, TooManyFailures or TooBusy.
        """
        try:
            user = services.authenticate(email, password, self.throttle(email))
        except tuple(_REFUSALS) as error:
            LOGINS.labels(_REFUSALS[type(error)]).inc()
            extra = {"account": account_of(email)[:12], "reason": type(error).__name__}
            _log.warning("log-in refused", extra=extra)
            raise
        LOGINS.labels("ok").inc()
        return user

    def authenticate_again(self, user_id: int, password: str) -> User:
        """Return the account of a caller who gives its password once more."""
        user = self.authenticate(accounts.get_user(user_id).email, password)
        if user.id != user_id:  # the email went to another account meanwhile
            raise BadCredentials
        return user


def auth_blueprint(auth: AuthService) -> Blueprint:
    """Return the routes below /auth."""
    routes = Blueprint("auth", __name__, url_prefix="/auth")
    routes.before_request(limit_body)

    @routes.post("/signup")
    def signup() -> tuple[Response, int]:
        body = parse_body(SignUp)
        if auth.signup == "closed":
            raise Problem(403, "signup_closed", "Only operators can create accounts here.")
        needed = (body.invitation or "") if auth.signup == "invite" else None
        user_id = services.create_user(body.username, body.email, body.password, invitation=needed)
        # The address is known from now on: unknown addresses do not slow its log-ins.
        auth.throttle(body.email).reset()
        return jsonify(user_document(user_id, body.username, body.email)), 201

    @routes.post("/login")
    def login() -> Response:
        body = parse_body(LogIn)
        user = auth.authenticate(body.email, body.password)
        token = sessions.begin(user, auth.signer)
        return _token_response(token, in_cookie=body.session)

    @routes.post("/refresh")
    @reads_account_now
    def refresh() -> Response:
        identity = caller()
        if identity.key_sha256 is not None:
            raise Problem(401, "login_required", "A key gets no token; send the key itself.")
        if identity.logged_in_at_s < time.time() - REFRESH_S:
            raise Problem(401, "login_required", "The log-in was too long ago; log in again.")
        token = sessions.renew(identity, auth.signer)
        return _token_response(token, in_cookie=session_cookie.is_given())

    @routes.post("/logout")
    @reads_account_now
    def logout() -> Response:
        accounts.end_tokens(caller().user_id)
        auth.authenticator.forget(caller().user_id)
        response = Response(status=204)
        del response.headers["Content-Type"]
        if session_cookie.is_given():
            session_cookie.clear(response)
        return response

    @routes.post("/password")
    @reads_account_now
    def change_password() -> Response:
        body = parse_body(ChangePassword)
        user = auth.authenticate_again(caller().user_id, body.old_password)
        changed = accounts.change_password(user, body.password)
        auth.authenticator.forget(user.id)
        token = sessions.begin(changed, auth.signer)
        return _token_response(token, in_cookie=session_cookie.is_given())

    return routes


def limit_body() -> None:
    """Bound the body of calls about accounts."""
    request.max_content_length = _MAX_BODY_BYTES


def _token_response(token: str, *, in_cookie: bool) -> Response:
    response = jsonify(token_document(token))
    if in_cookie:
        session_cookie.set_cookie(response, token)
    response.headers["Cache-Control"] = "no-store"
    return response


def contract_blueprint(openapi_path: Path) -> Blueprint:
    """Return the route that serves the description of the API, which is read here."""
    routes = Blueprint("contract", __name__)
    document = _as_json(openapi_path)

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return Response(document, mimetype="application/json")

    return routes


@cache
def _as_json(path: Path) -> str:
    # libyaml needs 0.1 s of processor time, Python 0.7 s.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document = yaml.load(path.read_text("utf-8"), loader)  # noqa: S506 # it is a safe one
    return json.dumps(document, ensure_ascii=False)
