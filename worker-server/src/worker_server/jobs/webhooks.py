"""Send what the outbox of webhooks holds."""

import json
from collections.abc import Callable
from typing import Any

from worker_server.api.batch_documents import batch_document
from worker_server.api.batch_queries import BatchNotFound, get_batch
from worker_server.api.queries import PartTotals, TaskNotFound, get_task
from worker_server.api.schemas import task_document
from worker_server.api.times import utc_text
from worker_server.errors import Stopped
from worker_server.queue import webhooks
from worker_server.queue.webhooks import Delivery, Outcome
from worker_server.webhooks.sending import TIMEOUT_S, Sender

# An attempt, and the statements around it; then its sender counts as dead.
LEASE_S = 3 * TIMEOUT_S


def send_due(sender: Sender, should_stop: Callable[[], bool], lease_s: float = LEASE_S) -> int:
    """Attempt each delivery that is due, one after the other; return how many were attempted."""
    attempted = 0
    while not should_stop() and (delivery := webhooks.claim(lease_s)) is not None:
        attempted += 1
        try:
            outcome = attempt(sender, delivery, should_stop)
        except Stopped:  # the lease runs out, and another sender takes the delivery
            break
        webhooks.settle(delivery, outcome)
    return attempted


def attempt(sender: Sender, delivery: Delivery, should_stop: Callable[[], bool]) -> Outcome:
    """Send a claimed delivery, and return what the attempt has met; raise Stopped."""
    payload = delivery.payload
    if payload is None:
        try:
            payload = _payload(delivery)
        except (TaskNotFound, BatchNotFound):
            return Outcome(error_code="task_not_found", is_final=True)
        payload = webhooks.store_payload(delivery, payload)
    return sender.send(delivery, payload, should_stop)


def _payload(delivery: Delivery) -> str:
    timestamp = utc_text(delivery.event_at)
    whole = {"type": delivery.event, "timestamp": timestamp, "data": _data(delivery)}
    return json.dumps(whole, separators=(",", ":"))


def _data(delivery: Delivery) -> dict[str, Any]:
    """Return the document that the API gives; raise TaskNotFound or BatchNotFound."""
    if delivery.batch_id is not None:
        return batch_document(*get_batch(delivery.owner_id, delivery.batch_id))
    if delivery.task_id is None:
        return {"webhook_id": str(delivery.webhook_id)}  # of a test
    task, parts = get_task(delivery.owner_id, delivery.task_id)
    data = task_document(task, PartTotals.of(parts), parts)
    return data if delivery.part is None else {**data, "part": delivery.part}
