"""Sign-up and log-in."""

import hashlib

from flask_sqlalchemy.session import Session
from sqlalchemy import ColumnElement, delete, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import scoped_session

from web_server.db import db, transaction
from web_server.login_throttle import LoginThrottle
from web_server.models import Invitation, User
from web_server.passwords import hash_password, is_outdated, verify_password

# Key of an advisory lock, unique within the database.
_NAMES_LOCK = 0x1D43


class UsernameTaken(Exception):
    """There is an account with this username, ignoring case."""

    def __init__(self) -> None:
        super().__init__("This username is taken.")


class EmailTaken(Exception):
    """There is an account with this email, ignoring case."""

    def __init__(self) -> None:
        super().__init__("There is an account with this email already.")


class BadCredentials(Exception):
    """No account has this email and password: callers must not learn which one is wrong."""

    def __init__(self) -> None:
        super().__init__("The email or the password is wrong.")


class AccountDisabled(Exception):
    """The password is right, and an operator has disabled the account."""

    def __init__(self) -> None:
        super().__init__("This account is disabled.")


class InvitationInvalid(Exception):
    """Sign-up needs an invitation, and the code is unknown, used or expired."""

    def __init__(self) -> None:
        super().__init__("Signing up needs a valid invitation.")


def create_user(
    username: str, email: str, password: str, *, role: str = "user", invitation: str | None = None
) -> int:
    """Return the id of the new user; raise UsernameTaken, EmailTaken or InvitationInvalid.

    An `invitation` is used up together with the sign-up; callers without one do not learn which
    names are taken.
    """
    if invitation is not None:
        _require_invitation(invitation)
    refuse_taken(username, email)
    password_hash = hash_password(password)  # takes long, so before the transaction begins
    # ON CONFLICT: a unique violation would put the email and the hash into PostgreSQL's log.
    user = (
        insert(User)
        .values(username=username, email=email, password_hash=password_hash, role=role)
        .on_conflict_do_nothing()
        .returning(User.id)
    )
    while True:
        with transaction() as session:
            lock_names(session, shared=True)
            user_id = session.scalar(user)
            if user_id is not None and invitation is not None:
                _use_invitation(invitation)
        if user_id is not None:
            return user_id
        refuse_taken(username, email)  # does nothing if that account has been deleted since


def authenticate(email: str, password: str, throttle: LoginThrottle) -> User:
    """Return the user.

    Raise BadCredentials, in the same time whatever is wrong, TooManyFailures or AccountDisabled.
    """
    throttle.check()
    try:
        user = _verified(email, password)
    except BadCredentials:
        throttle.record_failure()
        raise
    if not throttle.record_success(user.id, user.email):  # the account was deleted during the check
        raise BadCredentials
    if user.disabled_at is not None:
        raise AccountDisabled
    return user


def _verified(email: str, password: str) -> User:
    """Return the user as it was when the password was found right; raise BadCredentials."""
    known = select(User).where(func.lower(User.email) == func.lower(email))
    with transaction() as session:
        user = session.scalar(known)
    if not verify_password(password, user.password_hash if user else None) or user is None:
        raise BadCredentials
    if is_outdated(user.password_hash):
        _renew_hash(user.id, user.password_hash, password)
        return _verified(email, password)
    return user


def refuse_taken(username: str, email: str, *, except_user_id: int = 0) -> None:
    """Raise UsernameTaken or EmailTaken where another account has it.

    The unique indexes decide in the end; this saves the slow hashing.
    """
    others = select(literal(1)).where(User.id != except_user_id)
    by_username = others.where(func.lower(User.username) == func.lower(username)).exists()
    by_email = others.where(func.lower(User.email) == func.lower(email)).exists()
    with transaction() as session:
        username_taken, email_taken = session.execute(select(by_username, by_email)).one()
    if username_taken:
        raise UsernameTaken
    if email_taken:
        raise EmailTaken


def lock_names(session: scoped_session[Session], *, shared: bool) -> None:
    """Let no account change its username or email until the transaction ends.

    A violated unique index is an error in PostgreSQL's log, with the email. An INSERT avoids it by
    ON CONFLICT, so sign-ups share the lock; an UPDATE cannot, so its lock is exclusive, and what
    it has read of other accounts stays true.
    """
    lock = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    session.execute(text(f"SELECT {lock}(:key)"), {"key": _NAMES_LOCK})


def _require_invitation(code: str) -> None:
    """Raise InvitationInvalid unless the invitation is good now."""
    with transaction() as session:
        known = session.scalar(select(Invitation.code_sha256).where(*_is_good(code)))
    if known is None:
        raise InvitationInvalid


def _use_invitation(code: str) -> None:
    """Delete the invitation, within the transaction of the sign-up."""
    used = delete(Invitation).where(*_is_good(code))
    if db.session.execute(used.returning(Invitation.code_sha256)).one_or_none() is None:
        raise InvitationInvalid


def _is_good(code: str) -> tuple[ColumnElement[bool], ...]:
    return (Invitation.code_sha256 == code_sha256(code), Invitation.expires_at > func.now())


def code_sha256(code: str) -> str:
    """Return what is stored of an invitation's code."""
    return hashlib.sha256(code.encode()).hexdigest()


def _renew_hash(user_id: int, outdated: str, password: str) -> None:
    password_hash = hash_password(password)
    unchanged = (User.id == user_id, User.password_hash == outdated)
    with transaction():
        db.session.execute(update(User).where(*unchanged).values(password_hash=password_hash))
