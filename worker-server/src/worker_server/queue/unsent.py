"""Events that no attempt has been made to send while their task or batch is about to go.

What they say of it has to be stored first: afterwards no document can be made.
"""

import uuid
from collections.abc import Mapping, Sequence

from sqlalchemy import func, or_, select, update

from worker_server.db import transaction
from worker_server.models import Task, Webhook, WebhookDelivery
from worker_server.queue.session import ScopedSession
from worker_server.queue.statuses import DeliveryStatus
from worker_server.queue.webhooks import WebhookEvent

_COLUMNS = (
    WebhookDelivery.id,
    WebhookDelivery.webhook_id,
    WebhookDelivery.event,
    WebhookDelivery.event_at,
    WebhookDelivery.task_id,
    WebhookDelivery.batch_id,
    WebhookDelivery.part,
    Webhook.owner_id,
)


class EventsUnsent(Exception):
    """Nothing was deleted: the payloads of these events have to be stored first."""

    def __init__(self, events: Sequence[WebhookEvent]) -> None:
        super().__init__(f"{len(events)} events have no payload")
        self.events = events


def require_payloads(
    session: ScopedSession, task_ids: Sequence[uuid.UUID], batch_id: uuid.UUID | None = None
) -> None:
    """Raise EventsUnsent unless the events of these tasks, and of their batches, have payloads.

    The caller has locked the tasks. A task's own callback goes with it; events of parts, of which
    a long video has thousands, are left out.
    """
    if not task_ids and batch_id is None:
        return
    batch_ids = select(Task.batch_id).where(Task.id.in_(task_ids), Task.batch_id.is_not(None))
    concerned = or_(
        WebhookDelivery.task_id.in_(task_ids),
        WebhookDelivery.batch_id.in_(batch_ids),
        WebhookDelivery.batch_id == batch_id,
    )
    unsent = (
        select(*_COLUMNS)
        .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
        .where(
            WebhookDelivery.status == DeliveryStatus.WAITING,
            WebhookDelivery.payload.is_(None),
            WebhookDelivery.part.is_(None),
            Webhook.task_id.is_(None),
            concerned,
        )
    )
    events = [WebhookEvent(*row) for row in session.execute(unsent)]
    if events:
        raise EventsUnsent(events)


def store_payloads(payloads: Mapping[uuid.UUID, str]) -> None:
    """Store the payload of each delivery, unless an attempt has stored one meanwhile."""
    with transaction() as session:
        for delivery_id, payload in sorted(payloads.items()):
            kept = func.coalesce(WebhookDelivery.payload, payload)
            which = WebhookDelivery.id == delivery_id
            session.execute(update(WebhookDelivery).where(which).values(payload=kept))
