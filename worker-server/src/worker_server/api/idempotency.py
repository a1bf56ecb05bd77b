"""Idempotency-Key: the header, and the digest that tells a repeated body from another one."""

import hashlib
import json

from flask import request

from idrl_common.access import caller
from idrl_common.problems import Problem
from idrl_common.validation import Body
from worker_server.queue.idempotency import IdempotentRequest

_KEY_LENGTH = range(1, 256)


def _idempotency_key() -> str | None:
    """Return the current request's key, None without one; raise a 400 Problem for a bad one."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (len(key) in _KEY_LENGTH and key.isascii() and key.isprintable()):
        raise Problem(
            400,
            "idempotency_key_invalid",
            "Idempotency-Key must be 1 to 255 printable ASCII characters.",
        )
    return key


def idempotent_request(body: Body) -> IdempotentRequest:
    """Return what shows whether the current request repeats another one."""
    key = _idempotency_key()
    digest = body_sha256(body) if key else None
    return IdempotentRequest(caller().user_id, idempotency_key=key, body_sha256=digest)


def body_sha256(body: Body) -> str:
    """Return the SHA-256 (hex) of the fields that were sent.

    Defaults are left out, so that a later release with more fields gets the same digest.
    """
    canonical = json.dumps(body.model_dump(exclude_unset=True), sort_keys=True).encode()
    return hashlib.sha256(canonical).hexdigest()
