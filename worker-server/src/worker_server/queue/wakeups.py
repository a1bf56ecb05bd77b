"""Wake-ups: a message says only that there is work; the worker asks the database which.

A wake-up may be lost or doubled without harm. The sweeper sends those that are missing.
"""

import logging

import redis
from celery import current_app
from kombu.exceptions import OperationalError

_log = logging.getLogger(__name__)

FETCH = "fetch"
RENDER = "render"
# The most that one queue is filled with: the sweeper refills it.
MAX_WAKEUPS = 1000


def send(queue: str, count: int = 1) -> None:
    """Send `count` wake-ups; when Redis is away send none: the sweeper finds the rows."""
    try:
        with current_app.producer_or_acquire() as producer:
            for _ in range(count):
                current_app.send_task(
                    f"worker_server.{queue}", queue=queue, producer=producer, retry=False
                )
    except (OperationalError, redis.RedisError, OSError) as error:
        _log.warning("no wake-up sent: %s", type(error).__name__, extra={"queue": queue})


def refill(client: redis.Redis, queue: str, due: int, limit: int = MAX_WAKEUPS) -> int:
    """Refill the queue to one wake-up for each of `due` rows; return how many were missing."""
    waiting: int = client.llen(queue)  # type: ignore[assignment] # the library types sync and async calls alike
    missing = min(due, limit) - waiting
    if missing > 0:
        send(queue, missing)
    return max(missing, 0)
