"""Callbacks: webhooks of one task or one batch alone, signed with the secret of the account."""

import uuid
from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from worker_server import webhook_signatures as signing
from worker_server.db import transaction
from worker_server.models import CallbackSecret, Webhook
from worker_server.queue.sql_common import ScopedSession

TASK_EVENTS = ("task.planned", "task.done", "task.failed", "task.canceled")
BATCH_EVENTS = ("batch.done",)
OVERLAP_HOURS = 24


def add_for_tasks(
    session: ScopedSession, owner_id: int, urls: Mapping[uuid.UUID, str | None]
) -> None:
    """Add the callbacks of new tasks; a task whose URL is None has none."""
    rows = [
        {"id": key, "task_id": key, "owner_id": owner_id, "url": url, "events": list(TASK_EVENTS)}
        for key, url in urls.items()
        if url is not None
    ]
    if rows:
        secret_of(session, owner_id)
        session.execute(insert(Webhook), rows)


def add_for_batch(
    session: ScopedSession, owner_id: int, batch_id: uuid.UUID, url: str | None
) -> None:
    """Add the callback of a new batch, where it has a URL."""
    if url is not None:
        secret_of(session, owner_id)
        row = Webhook(id=batch_id, batch_id=batch_id, owner_id=owner_id, url=url)
        row.events = list(BATCH_EVENTS)
        session.add(row)


def secret_of(session: ScopedSession, owner_id: int) -> bytes:
    """Return the account's secret, created at its first use."""
    statement = select(CallbackSecret.secret).where(CallbackSecret.owner_id == owner_id)
    known = session.scalar(statement)
    if known is not None:
        return known
    new = upsert(CallbackSecret).values(owner_id=owner_id, secret=signing.make_secret())
    # DO NOTHING would return no row where a concurrent call has inserted it.
    kept = new.on_conflict_do_update(
        index_elements=["owner_id"], set_={"secret": CallbackSecret.secret}
    )
    return session.scalars(kept.returning(CallbackSecret.secret)).one()


def valid_secrets(session: ScopedSession, owner_id: int) -> tuple[bytes, ...]:
    """Return what signs the account's callbacks: its secret, and a replaced one if still valid."""
    secret = secret_of(session, owner_id)
    statement = select(CallbackSecret.previous_secret).where(
        CallbackSecret.owner_id == owner_id, CallbackSecret.previous_until > func.now()
    )
    previous = session.scalar(statement)
    return (secret,) if previous is None else (secret, previous)


def get_secret(owner_id: int) -> bytes:
    """Return the account's secret."""
    with transaction() as session:
        return secret_of(session, owner_id)


def replace_secret(owner_id: int) -> bytes:
    """Replace the account's secret and return the new one.

    For OVERLAP_HOURS what is sent is signed with both, so that receivers may change theirs later.
    """
    secret = signing.make_secret()
    new = upsert(CallbackSecret).values(owner_id=owner_id, secret=secret)
    changed = {
        "secret": secret,
        "previous_secret": CallbackSecret.secret,
        "previous_until": func.now() + timedelta(hours=OVERLAP_HOURS),
    }
    with transaction() as session:
        session.execute(new.on_conflict_do_update(index_elements=["owner_id"], set_=changed))
    return secret


def delete_secret(owner_id: int) -> None:
    """Delete the account's secret; its next use creates another one."""
    with transaction() as session:
        session.execute(delete(CallbackSecret).where(CallbackSecret.owner_id == owner_id))
