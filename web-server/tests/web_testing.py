"""What several tests of the web server do and look for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

if TYPE_CHECKING:
    from conftest import AuthActions

CLIP = "/tasks/0b8f2f0e-6c1d-4c0a-9f57-3d1c5f6a7b88/parts/0"


def assert_problem(answer: TestResponse, status: int, code: str) -> None:
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert answer.json is not None
    assert (answer.json["code"], answer.json["request_id"]) == (
        code,
        answer.headers["X-Request-Id"],
    )


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def log_in(auth: AuthActions, password: str | None = None) -> dict[str, str]:
    answer = auth.login(password=password)
    assert answer.json is not None
    return bearer(answer.json["token"])


def new_key(client: FlaskClient, headers: dict[str, str], **changed: object) -> dict[str, str]:
    answer = client.post("/me/keys", json={"name": "script", **changed}, headers=headers)
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    document: dict[str, str] = answer.json  # type: ignore[assignment] # an object
    return document
