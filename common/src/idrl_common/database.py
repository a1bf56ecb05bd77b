"""Transactions, the same in every app."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from sqlalchemy.orm import Session, scoped_session

SessionT = TypeVar("SessionT", bound=Session)
Transaction = Callable[[], AbstractContextManager[scoped_session[SessionT]]]


def transactions(session: scoped_session[SessionT]) -> Transaction[SessionT]:
    """Return `transaction`: its block gets `session`, commits at the end, and rolls back when it raises."""

    @contextmanager
    def transaction() -> Iterator[scoped_session[SessionT]]:
        try:
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            raise

    return transaction
