"""Webhooks and their outbox."""

import uuid
from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Index, Text, Uuid, func, text
from sqlalchemy.orm import Mapped, mapped_column

from worker_server.models.base import Base, one_of
from worker_server.models.statuses import DeliveryStatus

_UNSENT = f"status = '{DeliveryStatus.WAITING}' AND payload IS NULL"
_ENDED = f"status <> '{DeliveryStatus.WAITING}'"


class Webhook(Base):
    """A URL that gets the events of an account's tasks; `secret` signs the requests.

    A webhook with a `task_id` or a `batch_id` is the callback of that task or batch alone: it has
    the same id and no secret of its own, as the account's CallbackSecret signs.

    `busy_until` is the lease of the attempt that runs: a receiver has one at a time.
    """

    __tablename__ = "webhooks"

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    owner_id: Mapped[int] = mapped_column(BigInteger)
    url: Mapped[str]
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    secret: Mapped[bytes | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    disabled_at: Mapped[datetime | None]
    busy_until: Mapped[datetime | None]
    task_id: Mapped[uuid.UUID | None] = mapped_column(
        Uuid, ForeignKey("tasks.id", ondelete="CASCADE")
    )
    batch_id: Mapped[uuid.UUID | None] = mapped_column(
        Uuid, ForeignKey("batches.id", ondelete="CASCADE")
    )

    __table_args__ = (
        Index(
            "webhooks_owner",
            "owner_id",
            "created_at",
            postgresql_where=text("task_id IS NULL AND batch_id IS NULL"),
        ),
        Index("webhooks_task", "task_id", postgresql_where=text("task_id IS NOT NULL")),
        Index("webhooks_batch", "batch_id", postgresql_where=text("batch_id IS NOT NULL")),
    )


class CallbackSecret(Base):
    """What signs the callbacks of an account; the secret before it too, until `previous_until`."""

    __tablename__ = "callback_secrets"

    owner_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    secret: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    previous_secret: Mapped[bytes | None]
    previous_until: Mapped[datetime | None]


class WebhookDelivery(Base):
    """One event for one webhook: the outbox, which a trigger on `task_events` fills.

    `payload` is text, not JSONB, so that every attempt sends the same bytes. `run_after` is also
    the lease: a claim moves it. Its default is clock_timestamp(), not now(), so that the events of
    one transaction are sent in order.
    """

    __tablename__ = "webhook_deliveries"

    id: Mapped[uuid.UUID] = mapped_column(
        Uuid, primary_key=True, server_default=text("gen_random_uuid()")
    )
    webhook_id: Mapped[uuid.UUID] = mapped_column(
        Uuid, ForeignKey("webhooks.id", ondelete="CASCADE")
    )
    event: Mapped[str]
    task_id: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    batch_id: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    part: Mapped[int | None]
    event_at: Mapped[datetime] = mapped_column(server_default=func.now())
    status: Mapped[str] = mapped_column(server_default=DeliveryStatus.WAITING)
    payload: Mapped[str | None]
    attempt: Mapped[int] = mapped_column(server_default="0")
    run_after: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    attempted_at: Mapped[datetime | None]
    http_status: Mapped[int | None]
    error_code: Mapped[str | None]

    __table_args__ = (
        CheckConstraint(one_of(DeliveryStatus), "delivery_status"),
        Index("webhook_deliveries_webhook", "webhook_id", "event_at"),
        Index(
            "webhook_deliveries_due",
            "run_after",
            postgresql_where=text(one_of([DeliveryStatus.WAITING])),
        ),
        Index(
            "webhook_deliveries_waiting",
            "webhook_id",
            "run_after",
            postgresql_where=text(one_of([DeliveryStatus.WAITING])),
        ),
        Index("webhook_deliveries_unsent_task", "task_id", postgresql_where=text(_UNSENT)),
        Index("webhook_deliveries_unsent_batch", "batch_id", postgresql_where=text(_UNSENT)),
        Index("webhook_deliveries_ended", "event_at", postgresql_where=text(_ENDED)),
    )
