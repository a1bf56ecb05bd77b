"""Wake-up hints: a message says only that there is work; which, the worker asks the database.

A hint may be lost or doubled without harm. `sweep` sends what is missing.
"""

import logging

import redis
from celery import current_app
from kombu.exceptions import OperationalError

_log = logging.getLogger(__name__)

FETCH = "fetch"
RENDER = "render"
# As many as one queue is given: the sweeper fills it up again.
MAX_WAKEUPS = 1000


def send(queue: str, count: int = 1) -> None:
    """Send `count` hints; when Redis is away, do without: the sweeper will see the rows."""
    try:
        with current_app.producer_or_acquire() as producer:
            for _ in range(count):
                current_app.send_task(
                    f"worker_server.{queue}", queue=queue, producer=producer, retry=False
                )
    except (OperationalError, redis.RedisError, OSError) as error:
        _log.warning("no hint sent: %s", type(error).__name__, extra={"queue": queue})


def refill(client: redis.Redis, queue: str, ready: int, limit: int = MAX_WAKEUPS) -> int:
    """Make the queue hold a hint for each of `ready` rows, and return how many were missing."""
    waiting: int = client.llen(queue)  # type: ignore[assignment] # the library types sync and async calls alike
    missing = min(ready, limit) - waiting
    if missing > 0:
        send(queue, missing)
    return max(missing, 0)
