"""Send what the outbox of webhooks holds."""

from collections.abc import Callable

from worker_server.api.batch_queries import BatchNotFound
from worker_server.api.queries import TaskNotFound
from worker_server.api.webhook_payloads import payload_of
from worker_server.errors import Stopped
from worker_server.queue import webhooks
from worker_server.queue.webhooks import Delivery, Outcome
from worker_server.webhooks.sending import TIMEOUT_S, Sender

# Longer than an attempt and its SQL take: once a lease has expired, its sender counts as dead.
LEASE_S = 3 * TIMEOUT_S


def send_due(sender: Sender, should_stop: Callable[[], bool], lease_s: float = LEASE_S) -> int:
    """Attempt each delivery that is due, one after the other; return how many were attempted."""
    attempted = 0
    while not should_stop() and (delivery := webhooks.claim(lease_s)) is not None:
        attempted += 1
        try:
            outcome = attempt(sender, delivery, should_stop)
        except Stopped:  # its lease expires, and another sender claims the delivery
            break
        webhooks.record_attempt(delivery, outcome)
    return attempted


def attempt(sender: Sender, delivery: Delivery, should_stop: Callable[[], bool]) -> Outcome:
    """Send a claimed delivery, and return what the attempt has met; raise Stopped."""
    payload = delivery.payload
    if payload is None:
        try:
            payload = payload_of(delivery)
        except (TaskNotFound, BatchNotFound):
            return Outcome(error_code="task_not_found", is_final=True)
        payload = webhooks.store_payload(delivery, payload)
    return sender.send(delivery, payload, should_stop)
