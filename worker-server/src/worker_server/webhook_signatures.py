"""Signatures of Standard Webhooks 1.0: HMAC-SHA256 over id, time and body."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

_PREFIX = "whsec_"
_SECRET_BYTES = 32


def make_secret() -> bytes:
    """Return a new secret of 256 bits."""
    return secrets.token_bytes(_SECRET_BYTES)


def encode_secret(secret: bytes) -> str:
    """Return the secret in Base64 with its prefix, as its owner gets it."""
    return _PREFIX + base64.b64encode(secret).decode()


def headers(
    signing_secrets: Sequence[bytes], message_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """Return the three headers; `timestamp` is the attempt's, in seconds since 1970.

    Receivers accept a message if one of its signatures is by the secret that they know.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(secret, signed) for secret in signing_secrets),
    }


def _signature(secret: bytes, signed: bytes) -> str:
    digest = hmac.new(secret, signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
