"""What webhooks are sent: the documents that the API gives, as one text."""

import json
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from worker_server.api.batch_documents import batch_document
from worker_server.api.batch_queries import BatchNotFound, get_batch
from worker_server.api.queries import PartTotals, TaskNotFound, get_task
from worker_server.api.schemas import task_document
from worker_server.api.times import utc_text
from worker_server.queue import unsent
from worker_server.queue.unsent import EventsUnsent
from worker_server.queue.webhooks import WebhookEvent

Result = TypeVar("Result")
# Another event may be recorded between storing the payloads and the deletion, such as batch.done.
_MAX_TRIES = 10


def payload_of(event: WebhookEvent) -> str:
    """Return the body of the event's requests; raise TaskNotFound or BatchNotFound."""
    timestamp = utc_text(event.event_at)
    whole = {"type": event.event, "timestamp": timestamp, "data": _data(event)}
    return json.dumps(whole, separators=(",", ":"))


def delete_with_payloads(delete: Callable[[], Result]) -> Result:
    """Call `delete`; where it raises EventsUnsent, store what they say and call it again."""
    for _ in range(_MAX_TRIES):
        try:
            return delete()
        except EventsUnsent as error:
            unsent.store_payloads(dict(filter(None, map(_last_payload, error.events))))
    raise RuntimeError("events of what is to be deleted are added all the time")


def _last_payload(event: WebhookEvent) -> tuple[uuid.UUID, str] | None:
    try:
        return event.id, payload_of(event)
    except (TaskNotFound, BatchNotFound):  # deleted by a concurrent call
        return None


def _data(event: WebhookEvent) -> dict[str, Any]:
    if event.batch_id is not None:
        return batch_document(*get_batch(event.owner_id, event.batch_id))
    if event.task_id is None:
        return {"webhook_id": str(event.webhook_id)}  # a test event belongs to no task
    task, parts = get_task(event.owner_id, event.task_id)
    data = task_document(task, PartTotals.of(parts), parts)
    return data if event.part is None else {**data, "part": event.part}
