"""Callbacks: webhooks of one task or one batch alone, signed with the secret of the account."""

import uuid
from collections.abc import Mapping

from sqlalchemy import delete, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from worker_server import webhook_signatures as signing
from worker_server.db import transaction
from worker_server.models import CallbackSecret, Webhook
from worker_server.queue.session import ScopedSession

TASK_EVENTS = ("task.planned", "task.done", "task.failed", "task.canceled")
BATCH_EVENTS = ("batch.done",)


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
    new = upsert(CallbackSecret).values(owner_id=owner_id, secret=signing.make_secret())
    session.execute(new.on_conflict_do_nothing())
    statement = select(CallbackSecret.secret).where(CallbackSecret.owner_id == owner_id)
    return session.scalars(statement).one()


def get_secret(owner_id: int) -> bytes:
    """Return the account's secret."""
    with transaction() as session:
        return secret_of(session, owner_id)


def replace_secret(owner_id: int) -> bytes:
    """Replace the account's secret and return the new one, which signs from now on."""
    secret = signing.make_secret()
    new = upsert(CallbackSecret).values(owner_id=owner_id, secret=secret)
    with transaction() as session:
        session.execute(
            new.on_conflict_do_update(index_elements=["owner_id"], set_={"secret": secret})
        )
    return secret


def delete_secret(owner_id: int) -> None:
    """Forget the account's secret; its next use makes another one."""
    with transaction() as session:
        session.execute(delete(CallbackSecret).where(CallbackSecret.owner_id == owner_id))
