"""The outbox of webhooks: what is due, who sends it now, and how an attempt has ended."""

import random
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import ColumnElement, Row, func, or_, select, update

from worker_server.db import retry_outages, transaction
from worker_server.models import Webhook, WebhookDelivery
from worker_server.models.statuses import DeliveryStatus
from worker_server.queue import callbacks, totals
from worker_server.queue.sql_common import ScopedSession, Values, seconds_from_now
from worker_server.queue.statements import load

# Seconds after each failed attempt, about three days in all, as Standard Webhooks 1.0 suggests.
RETRY_AFTER_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
_MAX_RETRY_AFTER_S = 86_400.0
# A receiver that fails gets no more what has been due for as long as all attempts take.
OVERDUE_S = 3 * 86_400
_MAX_OVERDUE = 1000
_GONE = 410
# A longer pause between two attempts means that no fetch worker has run.
_LONGEST_PAUSE_S = 6 * 3600.0
_DUE_RECEIVERS = load("due_receivers")
_UNSENT_TIME = load("unsent_time")
# How many of the oldest due deliveries are examined before the others are searched; for how many
# webhooks a claim tries, more than there are senders that may claim at the same time.
_EXAMINED = 100
_MAX_RECEIVERS = 32
_MAX_STORED_LENGTH = 64 * 1024
# A delivery whose webhook was disabled by a 410 answer to another delivery.
GIVEN_UP = {"status": DeliveryStatus.FAILED, "error_code": "webhook_disabled"}
_RESULTS = {
    DeliveryStatus.DELIVERED: "delivered",
    DeliveryStatus.WAITING: "repeated",
    DeliveryStatus.FAILED: "given_up",
}


@dataclass(frozen=True)
class WebhookEvent:
    """One event for one webhook; `id` is that of its delivery."""

    id: uuid.UUID
    webhook_id: uuid.UUID
    event: str
    event_at: datetime
    task_id: uuid.UUID | None
    batch_id: uuid.UUID | None
    part: int | None
    owner_id: int


@dataclass(frozen=True)
class Delivery(WebhookEvent):
    """One attempt to deliver, the `number`th since the event or since it was sent again.

    `attempted_at`, when it was claimed, is its fencing token.
    """

    number: int
    attempted_at: datetime
    url: str
    secrets: tuple[bytes, ...]
    payload: str | None


@dataclass(frozen=True)
class Outcome:
    """The result of an attempt: the HTTP status, or the code of the error before one came."""

    http_status: int | None = None
    error_code: str | None = None
    retry_after_s: float | None = None
    is_final: bool = False

    @property
    def is_delivered(self) -> bool:
        """Return whether the receiver has accepted the event."""
        return self.http_status is not None and 200 <= self.http_status < 300


def claim(lease_s: float) -> Delivery | None:
    """Lease, for `lease_s`, the due delivery that has waited longest; None where none is due.

    An expired lease makes it due again: its sender counts as dead, and the receiver may get it
    twice. A webhook has one attempt at a time, and accounts without any go first, against
    head-of-line blocking by slow receivers.
    """
    with transaction() as session:
        receivers = _due_receivers(session, _served_accounts(session, lease_s))
        # None where another sender has claimed of this webhook meanwhile.
        claims = (_next_due(session, webhook_id) for webhook_id in receivers)
        claimed = next((each for each in claims if each is not None), None)
        if claimed is None:
            return None
        row, webhook = claimed
        row.attempt += 1
        row.attempted_at = func.now()
        row.run_after = webhook.busy_until = seconds_from_now(lease_s)
        session.flush()
        own = webhook.secret
        secrets = (own,) if own else callbacks.valid_secrets(session, webhook.owner_id)
        return _delivery(row, webhook, secrets)


def _due_receivers(session: ScopedSession, served: list[int]) -> list[uuid.UUID]:
    """Return idle webhooks with due deliveries, those to be served first in front."""
    limits = {"examined": _EXAMINED, "limit": _MAX_RECEIVERS}
    return list(session.scalars(_DUE_RECEIVERS, {"served": served, **limits}))


def _next_due(
    session: ScopedSession, webhook_id: uuid.UUID
) -> Row[tuple[WebhookDelivery, Webhook]] | None:
    due = (
        select(WebhookDelivery, Webhook)
        .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
        .where(*_is_due(), WebhookDelivery.webhook_id == webhook_id)
        .order_by(WebhookDelivery.run_after)
        .limit(1)
        # The webhook's row too: its lock makes a second sender read `busy_until` again.
        .with_for_update(skip_locked=True, of=(WebhookDelivery, Webhook))
    )
    return session.execute(due).one_or_none()


def _served_accounts(session: ScopedSession, lease_s: float) -> list[int]:
    """Return the accounts with an attempt under way: `claim` sets `run_after` = `busy_until`."""
    until = WebhookDelivery.run_after
    under_way = (
        WebhookDelivery.status == DeliveryStatus.WAITING,
        until.between(func.now(), seconds_from_now(lease_s)),
        Webhook.busy_until == until,
    )
    owners = select(Webhook.owner_id).join(
        WebhookDelivery, WebhookDelivery.webhook_id == Webhook.id
    )
    return list(session.scalars(owners.where(*under_way).distinct()))


def _delivery(row: WebhookDelivery, webhook: Webhook, secrets: tuple[bytes, ...]) -> Delivery:
    return Delivery(
        id=row.id,
        webhook_id=row.webhook_id,
        event=row.event,
        event_at=row.event_at,
        task_id=row.task_id,
        batch_id=row.batch_id,
        part=row.part,
        owner_id=webhook.owner_id,
        number=row.attempt,
        attempted_at=cast(datetime, row.attempted_at),  # never null: set by the claim
        url=webhook.url,
        secrets=secrets,
        payload=row.payload,
    )


@retry_outages
def store_payload(delivery: Delivery, payload: str) -> str:
    """Store the payload unless one is stored; return the stored one: every attempt sends it.

    Large documents of parts are not stored: a long video has thousands of such events, each with
    all its parts.
    """
    if delivery.part is not None and len(payload) > _MAX_STORED_LENGTH:
        return payload
    kept = func.coalesce(WebhookDelivery.payload, payload)
    row = update(WebhookDelivery).where(WebhookDelivery.id == delivery.id).values(payload=kept)
    with transaction() as session:
        return session.scalar(row.returning(WebhookDelivery.payload)) or payload


@retry_outages
def record_attempt(delivery: Delivery, outcome: Outcome) -> None:
    """Record how the attempt has ended, unless another one has begun since.

    The webhook's row is locked first and its deliveries after it, as its deletion locks them.
    """
    where = (
        WebhookDelivery.id == delivery.id,
        WebhookDelivery.attempted_at == delivery.attempted_at,
    )
    waiting_attempt = (*where, WebhookDelivery.status == DeliveryStatus.WAITING)
    with transaction() as session:
        row = select(Webhook.id).where(Webhook.id == delivery.webhook_id)
        session.execute(row.with_for_update(key_share=True))
        columns = select(WebhookDelivery.webhook_id, WebhookDelivery.attempt)
        attempted = session.execute(columns.where(*waiting_attempt).with_for_update()).one_or_none()
        if attempted is not None:
            webhook_id, number = attempted
            # 0 after a concurrent "send again", which restarts the count of attempts.
            after = _values_after(number or 1, outcome)
            session.execute(update(WebhookDelivery).where(*waiting_attempt).values(after))
            result = _RESULTS[after.get("status", DeliveryStatus.WAITING)]
            totals.add(session, (totals.WEBHOOK_ATTEMPTS, (result,), 1))
            values: Values = {"busy_until": None}
            if outcome.http_status == _GONE:
                values["disabled_at"] = func.now()
                _give_up(session, webhook_id)
            elif not (outcome.is_delivered or outcome.is_final):
                _give_up_overdue(session, webhook_id)
            session.execute(update(Webhook).where(Webhook.id == webhook_id).values(values))


def oldest_due_s() -> float:
    """Return how long the oldest due event of an idle receiver has waited, in seconds."""
    age = func.extract("epoch", func.now() - func.min(WebhookDelivery.run_after))
    due = select(age).join(Webhook, Webhook.id == WebhookDelivery.webhook_id).where(*_is_due())
    with transaction() as session:
        return float(session.scalar(due) or 0)


def _is_due() -> tuple[ColumnElement[bool], ...]:
    """Return what makes a delivery due, and its receiver ready for it."""
    return (
        WebhookDelivery.status == DeliveryStatus.WAITING,
        WebhookDelivery.run_after <= func.now(),
        Webhook.disabled_at.is_(None),
        or_(Webhook.busy_until.is_(None), Webhook.busy_until <= func.now()),
    )


def _give_up(session: ScopedSession, webhook_id: uuid.UUID) -> None:
    """Mark waiting deliveries as failed: the receiver answered 410 Gone."""
    waiting = (
        WebhookDelivery.webhook_id == webhook_id,
        WebhookDelivery.status == DeliveryStatus.WAITING,
    )
    session.execute(update(WebhookDelivery).where(*waiting).values(GIVEN_UP))


def _give_up_overdue(session: ScopedSession, webhook_id: uuid.UUID) -> None:
    """Mark the deliveries as failed that are due for OVERDUE_S; some, as others follow later.

    A receiver has one attempt at a time. One that hangs ends 8,640 a day, and may get more events.
    Days in which this system was down are not the receiver's.
    """
    of_webhook = (
        WebhookDelivery.webhook_id == webhook_id,
        WebhookDelivery.status == DeliveryStatus.WAITING,
    )
    is_overdue = WebhookDelivery.run_after < seconds_from_now(-OVERDUE_S)
    first = select(func.min(WebhookDelivery.run_after)).where(*of_webhook, is_overdue)
    since = session.scalar(first)
    if since is None:
        return
    limits = {"webhook_id": webhook_id, "since": since, "pause_s": _LONGEST_PAUSE_S}
    unsent_s = float(session.scalar(_UNSENT_TIME, limits) or 0)
    due_before = seconds_from_now(-OVERDUE_S - unsent_s)
    overdue = select(WebhookDelivery.id).where(*of_webhook, WebhookDelivery.run_after < due_before)
    oldest = overdue.order_by(WebhookDelivery.run_after).limit(_MAX_OVERDUE)
    free = oldest.with_for_update(skip_locked=True)
    values = {"status": DeliveryStatus.FAILED, "error_code": "webhook_overdue"}
    session.execute(update(WebhookDelivery).where(WebhookDelivery.id.in_(free)).values(values))


def _values_after(attempt: int, outcome: Outcome) -> Values:
    answer = {"http_status": outcome.http_status, "error_code": outcome.error_code}
    if outcome.is_delivered:
        return {**answer, "status": DeliveryStatus.DELIVERED}
    is_final = outcome.is_final or outcome.http_status == _GONE
    if is_final or attempt > len(RETRY_AFTER_S):
        return {**answer, "status": DeliveryStatus.FAILED}
    wait_s = RETRY_AFTER_S[attempt - 1] * random.uniform(0.9, 1.1)  # noqa: S311 # spreads load
    requested_s = min(outcome.retry_after_s or 0.0, _MAX_RETRY_AFTER_S)
    return {**answer, "run_after": seconds_from_now(max(wait_s, requested_s))}
