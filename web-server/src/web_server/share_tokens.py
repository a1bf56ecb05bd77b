"""Tokens of share links: JWTs that let their bearer see one task, or one part of it.

They are signed with the key of access tokens, for another audience and of another type, so neither
kind is accepted in the other's place (RFC 8725 §3.8, §3.11, §3.12).
"""

import time
import uuid
from dataclasses import dataclass

import jwt
from jwt.types import Options

from idrl_common.token_verifier import (
    ALGORITHM,
    ISSUER,
    MAX_TOKEN_LENGTH,
    decode,
    load_public_keys,
)
from web_server.token_signer import load_private_key

AUDIENCE = "idrl-share"
TOKEN_TYPE = "share+jwt"  # noqa: S105 # no secret
MIN_LIFETIME_S, DEFAULT_LIFETIME_S, MAX_LIFETIME_S = 60, 86_400, 30 * 86_400
_REQUIRED = ("sub", "iss", "aud", "iat", "exp", "task")


class ShareInvalid(Exception):
    """The token was not signed by this system, or its account is gone."""

    def __init__(self) -> None:
        super().__init__("This link does not exist.")


class ShareExpired(Exception):
    """The link has expired; it is valid otherwise."""

    def __init__(self) -> None:
        super().__init__("This link has expired; ask its owner for another one.")


@dataclass(frozen=True)
class Share:
    """What a link shows until `expires_at_s` (Unix time): a task, or one part of it."""

    owner_id: int
    task_id: uuid.UUID
    part: int | None
    expires_at_s: int


class ShareTokens:
    """Signs and verifies tokens of share links; the keys are those of access tokens."""

    def __init__(self, private_key_pem: str, public_keys_pem: str) -> None:
        self._private_key = load_private_key(private_key_pem)
        self._public_keys = load_public_keys(public_keys_pem)

    def sign(self, share: Share) -> str:
        """Return the token of a link."""
        claims = {
            "sub": str(share.owner_id),
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": int(time.time()),
            "exp": share.expires_at_s,
            "task": str(share.task_id),
            **({} if share.part is None else {"part": share.part}),
        }
        return jwt.encode(claims, self._private_key, ALGORITHM, headers={"typ": TOKEN_TYPE})

    def verify(self, token: str) -> Share:
        """Return what the link shows; raise ShareInvalid or ShareExpired."""
        if len(token) > MAX_TOKEN_LENGTH:
            raise ShareInvalid
        share = self._share(token)
        if share.expires_at_s <= time.time():
            raise ShareExpired
        return share

    def _share(self, token: str) -> Share:
        # The caller checks `exp`: only links that are otherwise valid are "expired".
        options: Options = {"require": list(_REQUIRED), "verify_exp": False}
        try:
            claims = decode(token, self._public_keys, AUDIENCE, {TOKEN_TYPE}, options)
        except jwt.PyJWTError as error:
            raise ShareInvalid from error
        return Share(
            int(claims["sub"]), uuid.UUID(claims["task"]), claims.get("part"), claims["exp"]
        )


def share_url(tokens: ShareTokens, base_url: str, share: Share) -> str:
    """Return the link, below the system's address (`https://clips.example.com/`)."""
    return f"{base_url.rstrip('/')}/s/{tokens.sign(share)}"
