"""Password hashes: argon2id with the minimum of OWASP's Password Storage cheat sheet."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from idrl_common.cores import usable_cores

# Hashing takes longer for longer ones, and password managers make none that long.
MAX_LENGTH = 128

_hasher = PasswordHasher(memory_cost=19456, time_cost=2, parallelism=1)
_CORES = usable_cores()
# A hash takes 19 MiB and a core for some 50 ms: more at once than cores only cost memory.
_running = BoundedSemaphore(_CORES)
# Running plus waiting. Each occupies a thread, and other calls need threads too.
_MAX_QUEUED = 22
_queued = BoundedSemaphore(_CORES + _MAX_QUEUED)
_MAX_WAIT_S = 10
# Verified for an unknown account, so that the answer takes the same time.
_dummy_hash = _hasher.hash(secrets.token_hex())


class TooBusy(Exception):
    """More passwords than can be hashed soon."""

    def __init__(self) -> None:
        super().__init__("Too many people are logging in at the moment; try again soon.")


def hash_password(password: str) -> str:
    """Return the salted hash, its parameters included; raise TooBusy."""
    with _slot():
        return _hasher.hash(password)


def verify_password(password: str, password_hash: str | None) -> bool:
    """Return whether the hash is of this password; raise TooBusy.

    None stands for an unknown account: it takes the same time, so that time reveals no account.
    """
    if len(password) > MAX_LENGTH:
        return False
    with _slot():
        try:
            matches = _hasher.verify(password_hash or _dummy_hash, password)
        except (VerificationError, InvalidHashError):
            return False
    return matches and password_hash is not None


def is_outdated(password_hash: str) -> bool:
    """Return whether the hash was made with other parameters than today's."""
    return _hasher.check_needs_rehash(password_hash)


@contextmanager
def _slot() -> Iterator[None]:
    """Wait for a core, in a short queue; raise TooBusy."""
    if not _queued.acquire(blocking=False):
        raise TooBusy
    try:
        if not _running.acquire(timeout=_MAX_WAIT_S):
            raise TooBusy
        try:
            yield
        finally:
            _running.release()
    finally:
        _queued.release()
