"""What owners do with accounts: see and change one, end its tokens, keep keys, delete it."""

import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from flask_sqlalchemy.session import Session
from sqlalchemy import BigInteger, column, delete, func, or_, select, table, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import scoped_session

from idrl_common.cursors import Position, newest_first
from idrl_common.token_verifier import Identity, token_refused
from web_server.authentication import KEY_PREFIX, key_sha256
from web_server.db import transaction
from web_server.login_throttle import account_of, move_known_clients
from web_server.models import ApiKey, LoginFailures, User
from web_server.passwords import hash_password
from web_server.services import BadCredentials, lock_names, refuse_taken

MAX_KEYS = 100
_SHORTEST = timedelta(microseconds=1)  # the resolution of PostgreSQL's timestamps
# A token of a web machine whose clock is ahead by this much ends too. Tokens that follow are issued
# as of then, so it must be well below the LEEWAY_S of those who verify them.
_MAX_AHEAD = timedelta(seconds=10)
# The worker machine's table, of which the web app may delete an account's rows.
_USAGE_DAYS = table("usage_days", column("owner_id", BigInteger))


class KeyNotFound(Exception):
    """The account has no such key."""

    def __init__(self) -> None:
        super().__init__("There is no key with this id.")


class StillInUse(Exception):
    """The account has tasks, brands or other things on the worker machine."""


class TooManyKeys(Exception):
    """The account has the maximum number of keys."""

    def __init__(self) -> None:
        super().__init__(f"An account has at most {MAX_KEYS} keys; delete one first.")


def get_user(user_id: int) -> User:
    """Return the account; raise NoResultFound when it was deleted a moment ago."""
    with transaction() as session:
        return session.scalars(select(User).where(User.id == user_id)).one()


def change_profile(user: User, username: str | None = None, email: str | None = None) -> User:
    """Change what is given; raise UsernameTaken or EmailTaken.

    With an email also BadCredentials, where the password is no longer that of `user`.
    """
    names = {"username": username, "email": email}
    values = {name: value for name, value in names.items() if value is not None}
    while values and not _change_names(user, values):
        current = get_user(user.id)
        if email is not None and current.password_hash != user.password_hash:
            raise BadCredentials
        # refuse_taken raises nothing where the other account was deleted meanwhile.
        refuse_taken(username or current.username, email or current.email, except_user_id=user.id)
    return get_user(user.id)


def _change_names(user: User, values: dict[str, str]) -> bool:
    """Return whether the account was changed."""
    same = or_(*(func.lower(getattr(User, name)) == func.lower(values[name]) for name in values))
    free = ~select(User.id).where(User.id != user.id, same).exists()
    changed = update(User).where(User.id == user.id, free).values(**values)
    email = values.get("email")
    if email is not None:
        changed = changed.where(User.password_hash == user.password_hash)
    with transaction() as session:
        lock_names(session, shared=False)
        row = session.execute(changed.returning(User.id)).one_or_none()
        if row and email:
            move_known_clients(user.email, email)
    return row is not None


def change_password(user: User, password: str) -> User:
    """Change the password and end every token of the account, which is returned as it is then.

    Raise BadCredentials where the password is no longer that of `user`.
    """
    new = hash_password(password)
    return end_tokens(user.id, if_password_hash=user.password_hash, password_hash=new)


def end_tokens(user_id: int, *, if_password_hash: str | None = None, **changed: object) -> User:
    """Refuse every token that was issued until now, and change the rest. Keys stay valid.

    Return the account; raise NoResultFound, and BadCredentials where it has another password hash.
    """
    account = select(User).where(User.id == user_id)
    with transaction() as session:
        user = session.scalars(account.with_for_update(key_share=True)).one()
        if if_password_hash not in (None, user.password_hash):
            raise BadCredentials
        # Taken while holding the lock, under which tokens are signed. A clock that was set back
        # must not bring back tokens, nor leave those that were issued at the last end.
        last = user.tokens_valid_after
        ended = datetime.now(UTC) + _MAX_AHEAD
        user.tokens_valid_after = ended if last is None else max(ended, last + _SHORTEST)
        for name, value in changed.items():
            setattr(user, name, value)
        return user


@contextmanager
def locked_account(user_id: int) -> Iterator[User | None]:
    """Lock the account's row while the block runs; None where it does not exist.

    A token that is signed meanwhile has a time before that of the next end of the account's tokens.
    """
    account = select(User).where(User.id == user_id)
    with transaction() as session:
        yield session.scalars(account.with_for_update(read=True)).one_or_none()


@contextmanager
def valid_caller(caller: Identity) -> Iterator[None]:
    """Let the caller's token or key end no sooner than the block, which makes what outlives it.

    Raise a 401 Problem where it was ended since the call was let in.
    """
    with locked_account(caller.user_id) as account, transaction() as session:
        _refuse_ended(session, caller, account)
        yield


def delete_user(user: User) -> None:
    """Delete the account with its keys, failed log-ins and usage; raise StillInUse.

    Waits for transactions that add something for the account: once it is gone, none can.
    """
    try:
        with transaction() as session:
            session.execute(delete(User).where(User.id == user.id))
            session.execute(delete(_USAGE_DAYS).where(_USAGE_DAYS.c.owner_id == user.id))
            of_account = LoginFailures.account == account_of(user.email)
            session.execute(delete(LoginFailures).where(of_account))
    except IntegrityError as error:
        raise StillInUse from error


def create_key(caller: Identity, name: str, expires_in_days: int | None) -> tuple[ApiKey, str]:
    """Return the new key's row and the key, which is not stored.

    Raise TooManyKeys, a 401 Problem where the caller's token or key was ended since the call was
    let in, or NoResultFound when the account was deleted a moment ago.
    """
    user_id = caller.user_id
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    expires_at = datetime.now(UTC) + timedelta(days=expires_in_days) if expires_in_days else None
    row = ApiKey(user_id=user_id, name=name, key_sha256=key_sha256(key), expires_at=expires_at)
    count = select(func.count()).where(ApiKey.user_id == user_id)
    with transaction() as session:
        # FOR UPDATE serializes the calls of an account, so that the limit holds, and log-outs.
        account = session.scalars(select(User).where(User.id == user_id).with_for_update()).one()
        _refuse_ended(session, caller, account)
        if (session.scalar(count) or 0) >= MAX_KEYS:
            raise TooManyKeys
        session.add(row)
    return row, key


def ended_at_s(account: User) -> float:
    """Return when the account's tokens were last ended, as a Unix time; 0 if never."""
    ended_at = account.tokens_valid_after
    return ended_at.timestamp() if ended_at else 0


def _refuse_ended(session: scoped_session[Session], caller: Identity, account: User | None) -> None:
    """Raise a 401 Problem where the caller's token, key or account, which is locked, was ended."""
    if account is None or account.disabled_at is not None:
        raise token_refused()
    if not _is_valid(session, caller, account):
        raise token_refused()


def _is_valid(session: scoped_session[Session], caller: Identity, account: User) -> bool:
    """Return whether the caller's token or key is valid still; a key's deletion then waits."""
    if caller.key_sha256 is None:
        return caller.issued_at_s >= ended_at_s(account)
    key = select(ApiKey.id).where(ApiKey.key_sha256 == caller.key_sha256)
    return session.scalar(key.with_for_update(read=True, key_share=True)) is not None


def list_keys(user_id: int, limit: int, after: Position | None = None) -> list[ApiKey]:
    """Return the account's keys after the position `after`, newest first."""
    owned = select(ApiKey).where(ApiKey.user_id == user_id)
    page = newest_first(owned, (ApiKey.created_at, ApiKey.id), limit, after)
    with transaction() as session:
        return list(session.scalars(page))


def delete_key(user_id: int, key_id: uuid.UUID) -> None:
    """Delete the key; raise KeyNotFound."""
    owned = delete(ApiKey).where(ApiKey.id == key_id, ApiKey.user_id == user_id)
    with transaction() as session:
        row = session.execute(owned.returning(ApiKey.id)).one_or_none()
    if row is None:
        raise KeyNotFound


def delete_keys(user_id: int) -> None:
    """Delete all keys of the account."""
    with transaction() as session:
        session.execute(delete(ApiKey).where(ApiKey.user_id == user_id))
