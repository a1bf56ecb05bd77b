"""Webhooks and their deliveries as an account creates, lists and resends them."""

import uuid
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, func, select, text, update

from idrl_common.cursors import Position, newest_first
from worker_server.db import transaction
from worker_server.models import Webhook, WebhookDelivery
from worker_server.models.statuses import DeliveryStatus
from worker_server.queue import callbacks
from worker_server.queue.quotas import lock_owner
from worker_server.queue.sql_common import ScopedSession
from worker_server.queue.webhooks import GIVEN_UP

EVENTS = (*callbacks.TASK_EVENTS, "part.done", *callbacks.BATCH_EVENTS)
# All events except part.done: a long video has hundreds of parts.
DEFAULT_EVENTS = (*callbacks.TASK_EVENTS, *callbacks.BATCH_EVENTS)
TEST_EVENT = "webhook.test"
MAX_WEBHOOKS = 20
# Bounds the outbox while a receiver is unreachable.
MAX_TESTS = 10
KEPT_DAYS = 30
_BATCH_SIZE = 5000


class WebhookNotFound(Exception):
    """The account has no such webhook, or the webhook no such delivery."""

    def __init__(self) -> None:
        super().__init__("This account has no such webhook or delivery.")


class TooManyWebhooks(Exception):
    """The account has the maximum number of webhooks."""

    def __init__(self) -> None:
        message = f"This account may have at most {MAX_WEBHOOKS} webhooks; delete one first."
        super().__init__(message)


class TooManyTests(Exception):
    """The webhook has the maximum number of test events that wait to be sent."""

    def __init__(self) -> None:
        super().__init__(f"{MAX_TESTS} test events of this webhook are waiting already.")


class WebhookDisabled(Exception):
    """The receiver has answered 410; nothing is sent to it any more."""

    def __init__(self) -> None:
        super().__init__("This webhook is disabled, as its receiver has answered 410.")


def create(owner_id: int, url: str, events: Sequence[str], secret: bytes) -> Webhook:
    """Store a webhook and return it; raise TooManyWebhooks."""
    with transaction() as session:
        lock_owner(session, owner_id)
        count = select(func.count()).where(*_of_account(owner_id))
        if (session.scalar(count) or 0) >= MAX_WEBHOOKS:
            raise TooManyWebhooks
        row = Webhook(owner_id=owner_id, url=url, events=list(events), secret=secret)
        session.add(row)
        return row


def list_webhooks(owner_id: int, limit: int, after: Position | None = None) -> list[Webhook]:
    """Return the account's webhooks after the position `after`, newest first, without callbacks."""
    of_account = select(Webhook).where(*_of_account(owner_id))
    page = newest_first(of_account, (Webhook.created_at, Webhook.id), limit, after)
    with transaction() as session:
        return list(session.scalars(page))


def find(owner_id: int, webhook_id: uuid.UUID) -> Webhook:
    """Return the webhook; raise WebhookNotFound."""
    with transaction() as session:
        return _owned(session, owner_id, webhook_id)


def delete_webhook(owner_id: int, webhook_id: uuid.UUID) -> None:
    """Delete the webhook with its deliveries; raise WebhookNotFound."""
    owned = delete(Webhook).where(Webhook.id == webhook_id, Webhook.owner_id == owner_id)
    with transaction() as session:
        if session.scalar(owned.returning(Webhook.id)) is None:
            raise WebhookNotFound


def send_test(owner_id: int, webhook_id: uuid.UUID) -> WebhookDelivery:
    """Put an event without a task into the outbox.

    Raise WebhookNotFound, WebhookDisabled or TooManyTests.
    """
    waiting = (
        WebhookDelivery.webhook_id == webhook_id,
        WebhookDelivery.event == TEST_EVENT,
        WebhookDelivery.status == DeliveryStatus.WAITING,
    )
    with transaction() as session:
        # The lock keeps the webhook until the delivery, which refers to it, is stored.
        _check_enabled(_owned(session, owner_id, webhook_id, locked=True))
        lock_owner(session, owner_id)
        if (session.scalar(select(func.count()).where(*waiting)) or 0) >= MAX_TESTS:
            raise TooManyTests
        row = WebhookDelivery(webhook_id=webhook_id, event=TEST_EVENT)
        session.add(row)
        return row


def list_deliveries(
    owner_id: int, webhook_id: uuid.UUID, limit: int, after: Position | None = None
) -> list[WebhookDelivery]:
    """Return the webhook's deliveries after the position `after`, newest first.

    Raise WebhookNotFound.
    """
    of_webhook = select(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook_id)
    columns = (WebhookDelivery.event_at, WebhookDelivery.id)
    with transaction() as session:
        _owned(session, owner_id, webhook_id)
        return list(session.scalars(newest_first(of_webhook, columns, limit, after)))


def resend(owner_id: int, webhook_id: uuid.UUID, delivery_id: uuid.UUID) -> WebhookDelivery:
    """Send a delivery once more, with the same id and payload.

    Raise WebhookNotFound or WebhookDisabled.
    """
    reset_values = {"status": DeliveryStatus.WAITING, "attempt": 0, "run_after": func.now()}
    which = (WebhookDelivery.id == delivery_id, WebhookDelivery.webhook_id == webhook_id)
    with transaction() as session:
        _check_enabled(_owned(session, owner_id, webhook_id))
        statement = update(WebhookDelivery).where(*which).values(reset_values)
        if session.scalar(statement.returning(WebhookDelivery.id)) is None:
            raise WebhookNotFound
        return session.scalars(select(WebhookDelivery).where(*which)).one()


def end_deliveries_of_disabled() -> None:
    """Mark as failed what was added for a webhook while it was being disabled.

    `record_attempt` fails those it sees; a transaction that commits later may still add some.
    """
    disabled = select(Webhook.id).where(Webhook.disabled_at.is_not(None))
    waiting_ids = select(WebhookDelivery.id).where(
        WebhookDelivery.status == DeliveryStatus.WAITING, WebhookDelivery.webhook_id.in_(disabled)
    )
    free = waiting_ids.with_for_update(skip_locked=True)
    with transaction() as session:
        statement = update(WebhookDelivery).where(WebhookDelivery.id.in_(free))
        session.execute(statement.values(GIVEN_UP))


def delete_old_deliveries() -> None:
    """Remove deliveries that ended and are older than KEPT_DAYS, except locked ones."""
    while _delete_some_old_deliveries() == _BATCH_SIZE:
        pass


def _delete_some_old_deliveries() -> int:
    """Remove the oldest ones, as many as fit into the statement timeout; return their number."""
    old = WebhookDelivery.event_at < func.now() - timedelta(days=KEPT_DAYS)
    # Literally, as in the condition of the index.
    has_ended = text(f"status <> '{DeliveryStatus.WAITING}'")
    ended = select(WebhookDelivery.id).where(old, has_ended)
    # SKIP LOCKED: waiting for a row while holding others could deadlock with a webhook's deletion.
    oldest = ended.order_by(WebhookDelivery.event_at).limit(_BATCH_SIZE)
    free = oldest.with_for_update(skip_locked=True)
    statement = delete(WebhookDelivery).where(WebhookDelivery.id.in_(free))
    with transaction() as session:
        return len(session.scalars(statement.returning(WebhookDelivery.id)).all())


def _of_account(owner_id: int) -> tuple[ColumnElement[bool], ...]:
    is_callback_of = (Webhook.task_id, Webhook.batch_id)
    return (Webhook.owner_id == owner_id, *(each.is_(None) for each in is_callback_of))


def _owned(
    session: ScopedSession, owner_id: int, webhook_id: uuid.UUID, *, locked: bool = False
) -> Webhook:
    owned = select(Webhook).where(Webhook.id == webhook_id, Webhook.owner_id == owner_id)
    if locked:
        owned = owned.with_for_update(read=True, key_share=True)
    row = session.scalars(owned).one_or_none()
    if row is None:
        raise WebhookNotFound
    return row


def _check_enabled(row: Webhook) -> None:
    if row.disabled_at is not None:
        raise WebhookDisabled
