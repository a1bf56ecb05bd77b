"""Password hashes: argon2id with the parameters that OWASP's Password Storage cheat sheet sets as the minimum."""

import os
import secrets
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# Hashing takes longer for longer ones, and no person's password manager goes this far.
MAX_LENGTH = 128

_hasher = PasswordHasher(memory_cost=19456, time_cost=2, parallelism=1)
# Each hash takes 19 MiB and a core for some 50 ms: more at once than cores gain nothing and cost memory.
_slots = BoundedSemaphore(os.cpu_count() or 1)
_nobodys_hash = _hasher.hash(secrets.token_hex())


def hash_password(password: str) -> str:
    """Return the salted hash, its parameters included."""
    with _slots:
        return _hasher.hash(password)


def verify_password(password: str, password_hash: str | None) -> bool:
    """Return whether the hash is of this password; None, for a person we do not know, takes the same time."""
    if len(password) > MAX_LENGTH:
        return False
    with _slots:
        try:
            return (
                _hasher.verify(password_hash or _nobodys_hash, password)
                and password_hash is not None
            )
        except (VerificationError, InvalidHashError):
            return False


def is_outdated(password_hash: str) -> bool:
    """Return whether the hash was made with other parameters than today's."""
    return _hasher.check_needs_rehash(password_hash)
