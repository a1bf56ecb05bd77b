"""Who calls: a token or a key for scripts, of an account that may still use it."""

import hashlib
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock
from typing import Generic, TypeVar

from flask import current_app, g, request
from sqlalchemy import Update, func, or_, select, update

from idrl_common.token_verifier import (
    Identity,
    TokenVerifier,
    bearer_token,
    identify,
    token_refused,
)
from web_server.db import transaction
from web_server.models import ApiKey, User
from web_server.token_signer import TokenSigner

KEY_PREFIX = "idrl_"
# A change of an account is seen by every process of the web app within this time.
LOOKUP_S = 5.0
# Tokens issued for a key or a share link; longer than LOOKUP_S plus the longest call.
_KEY_TOKEN_LIFETIME_S = 120
_MAX_CACHED = 4096  # accounts, and as many keys
_RECORD_USE_EVERY_S = 60

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
View = TypeVar("View", bound=Callable[..., object])

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def reads_account_now(view: View) -> View:
    """Mark a view: the account of a call that changes something is read now, not from the cache.

    For views that give what outlives the caller's token: a token, a key, a link, a webhook. An
    ended token or a deleted key, known to the cache for up to LOOKUP_S, must not be turned into it.
    """
    view.__dict__["reads_account_now"] = True
    return view


@dataclass(frozen=True)
class AccountState:
    """An account; its tokens from before `tokens_valid_after_s` are refused."""

    user_id: int
    role: str
    tokens_valid_after_s: float


@dataclass(frozen=True)
class KeyState:
    """A key, valid until `expires_at_s` (Unix time), and the token it is exchanged for."""

    account: AccountState
    expires_at_s: float
    token: str


class _Lookup(Generic[K, V]):
    """Remembers the result of a query for LOOKUP_S."""

    def __init__(self, query: Callable[[K], V | None]) -> None:
        self._query = query
        self._lock = Lock()
        self._known: dict[K, tuple[float, V | None]] = {}

    def __call__(self, key: K) -> V | None:
        now = time.monotonic()
        with self._lock:
            at, value = self._known.get(key, (-LOOKUP_S, None))
        if now - at < LOOKUP_S:
            return value
        value = self._query(key)
        with self._lock:
            if len(self._known) >= _MAX_CACHED:
                self._known.clear()
            self._known[key] = (now, value)
        return value

    def forget(self, key: K) -> None:
        """Query again at the next call; other processes notice within LOOKUP_S."""
        with self._lock:
            self._known.pop(key, None)

    def clear(self) -> None:
        with self._lock:
            self._known.clear()


class Authenticator:
    """Identifies callers, and says with which token their calls go to the tasks service."""

    def __init__(self, verifier: TokenVerifier, signer: TokenSigner) -> None:
        self._verifier = verifier
        self._signer = signer
        self._accounts = _Lookup(_account)
        self._keys: _Lookup[str, KeyState] = _Lookup(self._key)

    def identify(self) -> Identity:
        """Return who makes the current request; raise a 401 Problem."""
        if bearer_token().startswith(KEY_PREFIX):
            return self._identify_by_key(bearer_token())
        identity = identify(self._verifier)
        if _reads_account_now():
            self._accounts.forget(identity.user_id)
        account = self._accounts(identity.user_id)
        if account is None or identity.issued_at_s < account.tokens_valid_after_s:
            raise token_refused()
        return identity

    def act_for(self, user_id: int) -> bool:
        """Forward the current request as this account; return False where it no longer exists.

        For share links, whose own token proves what the request may ask for.
        """
        account = self._accounts(user_id)
        if account is not None:
            g.exchanged_token = self._signer.sign(user_id, lifetime_s=_KEY_TOKEN_LIFETIME_S)
        return account is not None

    def forget(self, user_id: int) -> None:
        """Look the account and its keys up again, after a change."""
        self._accounts.forget(user_id)
        self._keys.clear()

    def _identify_by_key(self, key: str) -> Identity:
        if len(key) > len(KEY_PREFIX) + 64:
            raise token_refused()
        sha256 = key_sha256(key)
        if _reads_account_now():
            self._keys.forget(sha256)
        state = self._keys(sha256)
        if state is None or state.expires_at_s <= time.time():
            raise token_refused()
        g.exchanged_token = state.token
        return Identity(state.account.user_id, state.account.role, key_sha256=sha256)

    def _key(self, sha256: str) -> KeyState | None:
        query = (
            select(ApiKey.expires_at, ApiKey.user_id, User.role)
            .join(User, User.id == ApiKey.user_id)
            .where(ApiKey.key_sha256 == sha256, User.disabled_at.is_(None))
        )
        with transaction() as session:
            row = session.execute(query).one_or_none()
            if row is None:
                return None
            session.execute(_record_use(sha256))
        token = self._signer.sign(row.user_id, row.role, lifetime_s=_KEY_TOKEN_LIFETIME_S)
        expires_at_s = row.expires_at.timestamp() if row.expires_at else float("inf")
        return KeyState(AccountState(row.user_id, row.role, 0), expires_at_s, token)


def _reads_account_now() -> bool:
    """Return whether the current call changes something, and its view is marked."""
    view = current_app.view_functions[request.endpoint or ""]
    return request.method not in _SAFE_METHODS and "reads_account_now" in vars(view)


def _record_use(sha256: str) -> Update:
    """Return the statement that records a key's use, every _RECORD_USE_EVERY_S at most."""
    before = func.now() - timedelta(seconds=_RECORD_USE_EVERY_S)
    is_old = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < before)
    used = update(ApiKey).where(ApiKey.key_sha256 == sha256, is_old)
    return used.values(last_used_at=func.now())


def exchanged_token() -> str | None:
    """Return the token that stands for the key of the current request, None if a token came."""
    token: str | None = g.get("exchanged_token")
    return token


def key_sha256(key: str) -> str:
    """Return what is stored of a key: it has 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(key.encode()).hexdigest()


def _account(user_id: int) -> AccountState | None:
    query = select(User.role, User.tokens_valid_after).where(
        User.id == user_id, User.disabled_at.is_(None)
    )
    with transaction() as session:
        row = session.execute(query).one_or_none()
    if row is None:
        return None
    ended_s = row.tokens_valid_after.timestamp() if row.tokens_valid_after else 0
    return AccountState(user_id, row.role, ended_s)
