"""Events that no attempt has been made to send while their task or batch is about to go.

Their payloads have to be stored first: they are made of the rows that are deleted.
"""

import uuid
from collections.abc import Mapping, Sequence

from worker_server.db import transaction
from worker_server.queue.sql_common import ScopedSession
from worker_server.queue.statements import load
from worker_server.queue.webhooks import WebhookEvent

# SQLAlchemy takes longer to build this statement than PostgreSQL to execute it.
_UNSENT_EVENTS = load("unsent_events")
_STORE_PAYLOADS = load("store_payloads")


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
    values = {"task_ids": [str(task_id) for task_id in task_ids], "batch_id": batch_id}
    events = [WebhookEvent(*row) for row in session.execute(_UNSENT_EVENTS, values)]
    if events:
        raise EventsUnsent(events)


def store_payloads(payloads: Mapping[uuid.UUID, str]) -> None:
    """Store the payload of each delivery, unless an attempt has stored one meanwhile."""
    ids = [str(delivery_id) for delivery_id in payloads]
    with transaction() as session:
        session.execute(_STORE_PAYLOADS, {"ids": ids, "payloads": list(payloads.values())})
