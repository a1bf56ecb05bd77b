"""Verifies tokens: Ed25519-signed JWTs (RFC 8725). Only the web app can sign them."""

import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from flask import request
from jwt.types import Options

from idrl_common.problems import Problem

ALGORITHM = "EdDSA"
ISSUER = "idrl"
AUDIENCE = "idrl"
# Clocks of two machines differ; without this a token is refused as issued in the future.
LEEWAY_S = 30
REQUIRED = ("sub", "user_id", "iss", "aud", "iat", "exp")

# Ours have about 300 characters. Longer ones are refused before they are hashed or decoded.
MAX_TOKEN_LENGTH = 2048
# How many verified tokens are cached; verifying a signature takes 20 times as long as the rest.
_CACHED_TOKENS = 4096

_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


class TokenInvalid(Exception):
    """Wrong signature, issuer, audience or type, or a missing claim."""


class TokenExpired(TokenInvalid):
    """The token has expired."""


# The `typ` of our access tokens (RFC 9068), and the one that 0.1.0 gave them.
TOKEN_TYPE = "at+jwt"  # noqa: S105 # no secret
_TOKEN_TYPES = frozenset({TOKEN_TYPE, "jwt"})
ROLES = ("user", "operator")


@dataclass(frozen=True)
class Identity:
    """Who calls: `user_id` is the token's subject.

    `issued_at_s` and `logged_in_at_s` are Unix times, of the token and of the log-in that it goes
    back to. `key_sha256` is that of the key for scripts that came instead of a token.
    """

    user_id: int
    role: str = "user"
    issued_at_s: float = field(default=0, compare=False)
    logged_in_at_s: float = field(default=0, compare=False)
    key_sha256: str | None = field(default=None, compare=False)


class TokenVerifier:
    """Verifies tokens with one public key, or two during a key rotation."""

    def __init__(self, public_keys_pem: str) -> None:
        """Read every PEM block of `public_keys_pem`.

        Raise ValueError when there is none or one is not Ed25519.
        """
        self._keys = load_public_keys(public_keys_pem)
        self._cached = lru_cache(_CACHED_TOKENS)(self._verify)

    def verify(self, token: str) -> Identity:
        """Return whose token it is; raise TokenExpired or TokenInvalid.

        The signature of a token is verified once and cached; its expiry is checked at each call.
        """
        if len(token) > MAX_TOKEN_LENGTH:
            raise TokenInvalid
        identity, expires = self._cached(token)
        if expires <= time.time() - LEEWAY_S:
            raise TokenExpired
        return identity

    def _verify(self, token: str) -> tuple[Identity, int]:
        """Return whose token it is and when it expires (Unix time); exceptions are not cached."""
        try:
            claims = decode(token, self._keys, AUDIENCE, _TOKEN_TYPES, {"require": list(REQUIRED)})
            return _identity(claims), int(claims["exp"])
        except jwt.ExpiredSignatureError as error:
            raise TokenExpired from error
        except jwt.PyJWTError as error:
            raise TokenInvalid from error


def load_public_keys(pem: str) -> list[Ed25519PublicKey]:
    """Return the key of every PEM block; raise ValueError as TokenVerifier does."""
    message = "JWT_PUBLIC_KEY must hold one or more Ed25519 public keys in PEM form"
    blocks = _PEM.findall(pem)
    # A truncated block must not be skipped: tokens of its key would be refused.
    is_complete = pem.count("-----BEGIN") == len(blocks) > 0
    try:
        loaded = [load_pem_public_key(block.encode()) for block in blocks] if is_complete else []
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(message) from error
    keys = [key for key in loaded if isinstance(key, Ed25519PublicKey)]
    if not keys or len(keys) < len(loaded):
        raise ValueError(message)
    return keys


def decode(
    token: str,
    keys: Sequence[Ed25519PublicKey],
    audience: str,
    token_types: Collection[str],
    options: Options,
) -> dict[str, Any]:
    """Return the claims of a token that one of the keys has signed; raise a PyJWTError.

    `options` are PyJWT's; `token_types` are in lower case.
    """
    for key in keys:
        try:
            complete = jwt.decode_complete(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=audience,
                issuer=ISSUER,
                leeway=LEEWAY_S,
                options=options,
            )
        except jwt.InvalidSignatureError:
            continue
        if str(complete["header"].get("typ")).lower() not in token_types:
            raise jwt.InvalidTokenError("a token of another type")
        claims: dict[str, Any] = complete["payload"]
        return claims
    raise jwt.InvalidSignatureError("none of the keys has signed it")


def identify(verifier: TokenVerifier) -> Identity:
    """Return who makes the current request; raise a 401 Problem without a valid token."""
    token = bearer_token()
    try:
        return verifier.verify(token)
    except TokenExpired as error:
        raise _unauthorized(
            "token_expired", "The token has expired; log in again.", "invalid_token"
        ) from error
    except TokenInvalid as error:
        raise token_refused() from error


def bearer_token() -> str:
    """Return the token of the current request; raise a 401 Problem without one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _unauthorized(
            "token_missing", "This call needs an Authorization header: Bearer and a token.", ""
        )
    return token.strip()


def token_refused() -> Problem:
    """Return the answer to a token that is invalid, or that has been ended."""
    return _unauthorized("token_invalid", "The token is not valid; log in again.", "invalid_token")


def _identity(claims: Mapping[str, Any]) -> Identity:
    user_id, role = claims["user_id"], claims.get("role", "user")
    if type(user_id) is not int or str(user_id) != claims["sub"] or role not in ROLES:
        raise jwt.InvalidTokenError("user_id and sub differ, or an unknown role")
    issued_at_s = float(claims["iat"])
    logged_in_at_s = float(claims.get("auth_time", issued_at_s))
    return Identity(user_id, role, issued_at_s, logged_in_at_s)


def _unauthorized(code: str, message: str, challenge: str) -> Problem:
    value = f'Bearer error="{challenge}"' if challenge else "Bearer"
    return Problem(401, code, message, headers={"WWW-Authenticate": value})
