"""The calls below /me: what callers do with their own account and its keys."""

import uuid
from functools import partial

from flask import Blueprint, Response, jsonify

from idrl_common.access import caller
from idrl_common.paging import page_response
from idrl_common.validation import parse_body
from web_server import account_removal, accounts
from web_server.authentication import reads_account_now
from web_server.documents import account_document, key_document
from web_server.schemas import ChangeProfile, DeleteAccount, KeyListing, NewKey
from web_server.tasks_client import TasksService
from web_server.views import AuthService, limit_body


def blueprint(auth: AuthService, tasks: TasksService, sample_url: str | None) -> Blueprint:
    """Return the routes; `sample_url` leads to a video that new users may try."""
    routes = Blueprint("me", __name__, url_prefix="/me")
    routes.before_request(limit_body)

    @routes.get("")
    def show() -> Response:
        return _forbid_shared_caching(
            jsonify(account_document(accounts.get_user(caller().user_id), sample_url))
        )

    @routes.patch("")
    @reads_account_now
    def change() -> Response:
        body = parse_body(ChangeProfile)
        user_id = caller().user_id
        if body.email is None:
            user = accounts.get_user(user_id)
        else:
            user = auth.authenticate_again(user_id, body.password or "")
        changed = accounts.change_profile(user, body.username, body.email)
        return _forbid_shared_caching(jsonify(account_document(changed, sample_url)))

    @routes.delete("")
    @reads_account_now
    def delete() -> tuple[str, int]:
        body = parse_body(DeleteAccount)
        user = auth.authenticate_again(caller().user_id, body.password)
        account_removal.remove(user, tasks, auth.authenticator, auth.signer)
        return "", 204

    @routes.post("/keys")
    @reads_account_now
    def create_key() -> tuple[Response, int]:
        body = parse_body(NewKey)
        row, key = accounts.create_key(caller(), body.name, body.expires_in_days)
        response = jsonify({**key_document(row), "key": key})
        response.headers["Cache-Control"] = "no-store"
        return response, 201

    @routes.get("/keys")
    def list_keys() -> Response:
        user_id = caller().user_id
        rows_after = partial(accounts.list_keys, user_id)
        return _forbid_shared_caching(
            page_response(KeyListing, "keys", user_id, rows_after, key_document)
        )

    @routes.delete("/keys/<key_id>")
    @reads_account_now
    def delete_key(key_id: str) -> tuple[str, int]:
        accounts.delete_key(caller().user_id, _uuid(key_id))
        auth.authenticator.forget(caller().user_id)
        return "", 204

    return routes


def _forbid_shared_caching(response: Response) -> Response:
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise accounts.KeyNotFound from error
