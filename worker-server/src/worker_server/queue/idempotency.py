"""Idempotency keys: one key makes one task and one batch, however often it is sent in a day."""

import uuid
from dataclasses import KW_ONLY, dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import ColumnElement, func, select, update

from worker_server.db import transaction
from worker_server.models import Batch, Task
from worker_server.queue.sql_common import ScopedSession

IDEMPOTENCY_HOURS = 24
Row = TypeVar("Row", Task, Batch)


class IdempotencyKeyReused(Exception):
    """An earlier request had this key and another body."""

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used before, with another body.")


@dataclass(frozen=True)
class IdempotentRequest:
    """Whose request it is; its key and the digest (hex) of its body, None without a key."""

    owner_id: int
    _: KW_ONLY
    idempotency_key: str | None = None
    body_sha256: str | None = None


def release_old_key(session: ScopedSession, model: type[Row], request: IdempotentRequest) -> None:
    """Free the request's key where the row that has it is older than a day."""
    if request.idempotency_key is not None:
        old = update(model).where(
            *_same_key(model, request), model.created_at < _keys_valid_since()
        )
        session.execute(old.values(idempotency_key=None))


def find_first(session: ScopedSession, model: type[Row], request: IdempotentRequest) -> Row | None:
    """Return the row of the first request with this key; None where there is none.

    Raise IdempotencyKeyReused.
    """
    fresh = (*_same_key(model, request), model.created_at >= _keys_valid_since())
    row = session.scalars(select(model).where(*fresh)).one_or_none()
    if row is not None and row.idempotency_body_sha256 != request.body_sha256:
        raise IdempotencyKeyReused
    return row


def find_repeated(model: type[Row], request: IdempotentRequest) -> uuid.UUID | None:
    """Return the id of what an earlier request with this key has stored; None where nothing is.

    Raise IdempotencyKeyReused. A repeated request is answered whatever has changed since the first
    one: a brand that was deleted, a share that is full.
    """
    if request.idempotency_key is None:
        return None
    with transaction() as session:
        first = find_first(session, model, request)
        return None if first is None else first.id


def _same_key(model: type[Row], request: IdempotentRequest) -> tuple[ColumnElement[bool], ...]:
    return (
        model.owner_id == request.owner_id,
        model.idempotency_key == request.idempotency_key,
    )


def _keys_valid_since() -> ColumnElement[datetime]:
    return func.now() - timedelta(hours=IDEMPOTENCY_HOURS)
