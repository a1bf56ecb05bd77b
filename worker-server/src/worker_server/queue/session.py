"""Names that the queue's statements share: the session's type, and values they set."""

from datetime import datetime
from typing import Any

from flask_sqlalchemy.session import Session
from sqlalchemy import ColumnElement, func
from sqlalchemy.orm import scoped_session

Where = tuple[ColumnElement[bool], ...]
Values = dict[str, Any]
ScopedSession = scoped_session[Session]


def lease_cleared() -> Values:
    """Return the values of a row that no worker holds."""
    return {"lease_owner": None, "lease_until": None, "updated_at": func.now()}


def error_cleared() -> Values:
    """Return the values of a row without an error."""
    return {"error_code": None, "error_message": None}


def seconds_from_now(seconds: float | ColumnElement[float]) -> ColumnElement[datetime]:
    """Return a point in time by the database's clock."""
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
