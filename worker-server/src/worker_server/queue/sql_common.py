"""What the queue's SQL statements share: types, advisory locks, conditions, and column values."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from flask_sqlalchemy.session import Session
from sqlalchemy import ColumnElement, and_, func, or_, text
from sqlalchemy.orm import scoped_session

from worker_server.models import Task
from worker_server.models.statuses import LIVE_TASKS, TaskStatus

Where = tuple[ColumnElement[bool], ...]
Values = dict[str, Any]
# Called with rows locked, before they are changed; raises where they must not be.
Check = Callable[[], None]
ScopedSession = scoped_session[Session]


def no_check() -> None:
    """Let any change through."""


def lease_cleared() -> Values:
    """Return the values of a row that no worker holds."""
    return {"lease_owner": None, "lease_until": None, "updated_at": func.now()}


def error_cleared() -> Values:
    """Return the values of a row without an error."""
    return {"error_code": None, "error_message": None}


def seconds_from_now(seconds: float | ColumnElement[float]) -> ColumnElement[datetime]:
    """Return a point in time by the database's clock."""
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def lock_for_owner(session: ScopedSession, key: int, owner_id: int) -> None:
    """Take an advisory lock of this owner; the end of the transaction releases it."""
    statement = text("SELECT pg_advisory_xact_lock(:key, hashint8(:owner))")
    session.execute(statement, {"key": key, "owner": owner_id})


def may_still_render(retry_hours: int) -> ColumnElement[bool]:
    """Return whether a task needs its files: it lives, or may be retried as it failed recently."""
    # The statuses that may, not the others: the index of an account's tasks by status has them.
    may_live = Task.status.in_([*LIVE_TASKS, TaskStatus.FAILED])
    is_recent = Task.finished_at > func.now() - timedelta(hours=retry_hours)
    return and_(may_live, or_(Task.status != TaskStatus.FAILED, is_recent))
