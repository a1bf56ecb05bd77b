"""Accounts."""

from sqlalchemy import func, insert, literal, select, text, update
from sqlalchemy.exc import IntegrityError

from web_server.db import db
from web_server.login_throttle import Attempt, Limit
from web_server.models import EMAIL_INDEX, USERNAME_INDEX, User
from web_server.passwords import hash_password, is_outdated, verify_password


class UsernameTaken(Exception):
    """Somebody has this username, in whatever case."""

    def __init__(self) -> None:
        super().__init__("This username is taken.")


class EmailTaken(Exception):
    """Somebody has signed up with this email, in whatever case."""

    def __init__(self) -> None:
        super().__init__("There is an account with this email already.")


class BadCredentials(Exception):
    """No account has this email and this password; which of the two is wrong stays untold."""

    def __init__(self) -> None:
        super().__init__("The email or the password is wrong.")


def create_user(username: str, email: str, password: str) -> int:
    """Return the id of the new user; raise UsernameTaken or EmailTaken."""
    _refuse_taken(username, email)
    password_hash = hash_password(password)  # slow, so outside of any transaction
    user = (
        insert(User)
        .values(username=username, email=email, password_hash=password_hash)
        .returning(User.id)
    )
    try:
        with db.session.begin():
            return db.session.execute(user).scalar_one()
    except IntegrityError as error:
        raise _taken(error) from error


def authenticate(email: str, password: str, address: str, limit: Limit) -> int:
    """Return the id of the user; raise BadCredentials, after the same time whatever is wrong, or TooManyFailures."""
    attempt = Attempt.of(email, address)
    attempt.check(limit)
    try:
        user_id = _verified(email, password)
    except BadCredentials:
        attempt.failed(limit)
        raise
    attempt.succeeded()
    return user_id


def _verified(email: str, password: str) -> int:
    known = select(User.id, User.password_hash).where(func.lower(User.email) == func.lower(email))
    with db.session.begin():
        user = db.session.execute(known).one_or_none()
    if not verify_password(password, user.password_hash if user else None) or user is None:
        raise BadCredentials
    if is_outdated(user.password_hash):
        _renew_hash(user.id, user.password_hash, password)
    return int(user.id)


def ping() -> None:
    """Raise unless the database answers."""
    with db.session.begin():
        db.session.execute(text("SELECT 1"))


def _refuse_taken(username: str, email: str) -> None:
    """Save the hashing where the answer is known; the unique indexes decide, not this."""
    by_username = (
        select(literal(1)).where(func.lower(User.username) == func.lower(username)).exists()
    )
    by_email = select(literal(1)).where(func.lower(User.email) == func.lower(email)).exists()
    with db.session.begin():
        username_taken, email_taken = db.session.execute(select(by_username, by_email)).one()
    if username_taken:
        raise UsernameTaken
    if email_taken:
        raise EmailTaken


def _taken(error: IntegrityError) -> Exception:
    """Return what the violated index means; any other violation is returned as it is."""
    index = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
    meanings: dict[str | None, Exception] = {
        USERNAME_INDEX: UsernameTaken(),
        EMAIL_INDEX: EmailTaken(),
    }
    return meanings.get(index, error)


def _renew_hash(user_id: int, outdated: str, password: str) -> None:
    password_hash = hash_password(password)
    unchanged = (User.id == user_id, User.password_hash == outdated)
    with db.session.begin():
        db.session.execute(update(User).where(*unchanged).values(password_hash=password_hash))
