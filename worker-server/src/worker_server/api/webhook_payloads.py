"""The bodies of webhook requests: documents of the API, as JSON text."""

import json
import uuid
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, TypeVar

from idrl_common.times import utc_text
from worker_server.api.batch_documents import batch_document
from worker_server.api.batch_queries import BatchNotFound, get_batch
from worker_server.api.queries import TaskNotFound, get_task
from worker_server.api.schemas import task_document
from worker_server.queue import unsent_events
from worker_server.queue.unsent_events import EventsUnsent
from worker_server.queue.webhooks import WebhookEvent

Result = TypeVar("Result")
# Another event may be recorded between storing the payloads and the deletion, such as batch.done.
_MAX_TRIES = 10
_CHUNK_SIZE = 100


def payload_of(event: WebhookEvent) -> str:
    """Return the body of the event's requests; raise TaskNotFound or BatchNotFound."""
    return _payload(event, _data(event))


def delete_with_payloads(delete: Callable[[], Result]) -> Result:
    """Call `delete`; where it raises EventsUnsent, store those events' payloads and repeat."""
    for _ in range(_MAX_TRIES):
        try:
            return delete()
        except EventsUnsent as error:
            _store_last_payloads(error.events)
    raise RuntimeError("events of what is to be deleted are added all the time")


def _store_last_payloads(events: Sequence[WebhookEvent]) -> None:
    """Store the events' payloads, some at a time: what is stored stays if the call is cut off."""
    payloads: dict[uuid.UUID, str] = {}
    for _, of_subject in groupby(sorted(events, key=_subject), _subject):
        payloads |= _last_payloads(list(of_subject))
        if len(payloads) >= _CHUNK_SIZE:
            unsent_events.store_payloads(payloads)
            payloads = {}
    unsent_events.store_payloads(payloads)


def _subject(event: WebhookEvent) -> tuple[int, str, str]:
    return event.owner_id, str(event.task_id), str(event.batch_id)


def _last_payloads(events: Sequence[WebhookEvent]) -> dict[uuid.UUID, str]:
    """Return the payload of each event, by delivery; all are of one task or batch."""
    try:
        data = _data(events[0])
    except (TaskNotFound, BatchNotFound):  # deleted by a concurrent call
        return {}
    return {event.id: _payload(event, data) for event in events}


def _payload(event: WebhookEvent, data: dict[str, Any]) -> str:
    whole = {"type": event.event, "timestamp": utc_text(event.event_at), "data": data}
    return json.dumps(whole, separators=(",", ":"))


def _data(event: WebhookEvent) -> dict[str, Any]:
    if event.batch_id is not None:
        return batch_document(*get_batch(event.owner_id, event.batch_id))
    if event.task_id is None:
        return {"webhook_id": str(event.webhook_id)}  # a test event belongs to no task
    task = get_task(event.owner_id, event.task_id)
    data = task_document(task, task["parts"])
    return data if event.part is None else {**data, "part": event.part}
