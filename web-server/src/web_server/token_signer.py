"""Makes tokens: the only place, in the only process, that holds the private key."""

import math
import time

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from idrl_common.token_verifier import (
    ALGORITHM,
    AUDIENCE,
    ISSUER,
    TOKEN_TYPE,
    TokenInvalid,
    TokenVerifier,
)

LIFETIME_S = 3600


class TokenSigner:
    """Signs tokens that last an hour."""

    def __init__(self, private_key_pem: str, verifier: TokenVerifier) -> None:
        """Read the key.

        Raise ValueError when it is not Ed25519, or when `verifier` would refuse what it signs.
        """
        self._key = load_private_key(private_key_pem)
        try:
            verifier.verify(self.sign(1))
        except TokenInvalid as error:
            raise ValueError(
                "JWT_PRIVATE_KEY does not belong to any key of JWT_PUBLIC_KEY"
            ) from error

    def sign(
        self,
        user_id: int,
        role: str = "user",
        *,
        logged_in_at_s: float | None = None,
        not_before_s: float = 0,
        lifetime_s: int = LIFETIME_S,
    ) -> str:
        """Return a token for the user; `logged_in_at_s` is a Unix time, now by default.

        It is issued at `not_before_s` where this clock, set back meanwhile, is not there yet.
        `iat` has a fraction, so that it differs from that of a token that was ended in the same
        second: in microseconds, as `tokens_valid_after`.
        """
        now = max(not_before_s, math.floor(time.time() * 1_000_000) / 1_000_000)
        claims = {
            "sub": str(user_id),
            "user_id": user_id,
            "role": role,
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now,
            "exp": int(now) + lifetime_s,
            "auth_time": now if logged_in_at_s is None else logged_in_at_s,
        }
        return jwt.encode(claims, self._key, ALGORITHM, headers={"typ": TOKEN_TYPE})


def load_private_key(pem: str) -> Ed25519PrivateKey:
    """Return the key; raise ValueError when it is not Ed25519."""
    message = "JWT_PRIVATE_KEY must hold one unencrypted Ed25519 private key in PEM form"
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(message) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(message)  # noqa: TRY004 # a wrong value of the setting
    return key
