"""Accounts."""

from sqlalchemy import func, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert

from web_server.db import db, transaction
from web_server.login_throttle import LoginThrottle
from web_server.models import User
from web_server.passwords import hash_password, is_outdated, verify_password


class UsernameTaken(Exception):
    """There is an account with this username, ignoring case."""

    def __init__(self) -> None:
        super().__init__("This username is taken.")


class EmailTaken(Exception):
    """There is an account with this email, ignoring case."""

    def __init__(self) -> None:
        super().__init__("There is an account with this email already.")


class BadCredentials(Exception):
    """No account has this email and this password. Callers must not learn which of the two is wrong."""

    def __init__(self) -> None:
        super().__init__("The email or the password is wrong.")


def create_user(username: str, email: str, password: str) -> int:
    """Return the id of the new user; raise UsernameTaken or EmailTaken."""
    _refuse_taken(username, email)
    password_hash = hash_password(password)  # slow, so outside of any transaction
    # A violated index would be an error, with the email and the hash in PostgreSQL's log.
    user = (
        insert(User)
        .values(username=username, email=email, password_hash=password_hash)
        .on_conflict_do_nothing()
        .returning(User.id)
    )
    while True:
        with transaction() as session:
            user_id = session.scalar(user)
        if user_id is not None:
            return user_id
        _refuse_taken(username, email)  # unless the other account was deleted meanwhile


def authenticate(email: str, password: str, throttle: LoginThrottle) -> int:
    """Return the id of the user; raise BadCredentials, in the same time whatever is wrong, or TooManyFailures."""
    throttle.check()
    try:
        user_id = _verified(email, password)
    except BadCredentials:
        throttle.record_failure()
        raise
    throttle.reset()
    return user_id


def _verified(email: str, password: str) -> int:
    known = select(User.id, User.password_hash).where(func.lower(User.email) == func.lower(email))
    with transaction():
        user = db.session.execute(known).one_or_none()
    if not verify_password(password, user.password_hash if user else None) or user is None:
        raise BadCredentials
    if is_outdated(user.password_hash):
        _renew_hash(user.id, user.password_hash, password)
    return int(user.id)


def ping() -> None:
    """Raise unless the database answers."""
    with transaction():
        db.session.execute(text("SELECT 1"))


def _refuse_taken(username: str, email: str) -> None:
    """Refuse before the slow hashing where possible; the unique indexes decide in the end."""
    by_username = (
        select(literal(1)).where(func.lower(User.username) == func.lower(username)).exists()
    )
    by_email = select(literal(1)).where(func.lower(User.email) == func.lower(email)).exists()
    with transaction():
        username_taken, email_taken = db.session.execute(select(by_username, by_email)).one()
    if username_taken:
        raise UsernameTaken
    if email_taken:
        raise EmailTaken


def _renew_hash(user_id: int, outdated: str, password: str) -> None:
    password_hash = hash_password(password)
    unchanged = (User.id == user_id, User.password_hash == outdated)
    with transaction():
        db.session.execute(update(User).where(*unchanged).values(password_hash=password_hash))
