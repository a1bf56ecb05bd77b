"""Wake-ups: a message says only that there is work; the worker asks the database which.

A wake-up may be lost or duplicated without harm. The sweeper sends those that are missing.
"""

import logging
import threading
import time
from collections import Counter

import redis
from celery import current_app
from flask import Flask, current_app as flask_app
from kombu.exceptions import OperationalError

from idrl_common import request_ids
from idrl_common.background import start_thread

_log = logging.getLogger(__name__)

_EXTENSION = "idrl_wakeups"
# Maximum wake-ups in one queue: the sweeper refills it. Each takes 1 KB of Redis's memory, so all
# parts of a large batch would fill it.
MAX_WAKEUPS = 1000


class NotSent(Exception):
    """Redis answers, but takes no wake-up: it is full, for example, or a replica."""


def send(queue: str, count: int = 1, trace: str | None = None) -> bool:
    """Send `count` wake-ups, but let the queue have no more than MAX_WAKEUPS.

    Return whether they were sent. `trace` is the sender's traceparent. While Redis is unavailable
    nothing is lost: the sweeper wakes the workers later.
    """
    trace = trace or request_ids.traceparent.get()
    headers = {request_ids.TRACE_HEADER: trace} if trace else {}
    try:
        with current_app.producer_or_acquire() as producer:
            free = MAX_WAKEUPS - producer.channel.client.llen(queue)
            for _ in range(min(count, free)):
                current_app.send_task(
                    f"worker_server.{queue}",
                    queue=queue,
                    producer=producer,
                    retry=False,
                    headers=headers,
                )
    except (OperationalError, redis.RedisError, OSError) as error:
        _log.warning("wake-up not sent: %s", type(error).__name__, extra={"queue": queue})
        return False
    return True


class WakeupSender:
    """Sends from one thread, so that no request waits for Redis; pauses after a failure."""

    def __init__(self, pause_s: float = 5.0) -> None:
        self._pause_s = pause_s
        self._lock = threading.Lock()
        # Pending wake-ups by queue and traceparent.
        self._counts: Counter[tuple[str, str | None]] = Counter()
        self._thread: threading.Thread | None = None
        self._paused_until = 0.0

    def send(self, queue: str) -> None:
        """Have a wake-up sent soon; none during the pause after a failure."""
        with self._lock:
            if time.monotonic() < self._paused_until or self._counts.total() >= 2 * MAX_WAKEUPS:
                return
            self._counts[queue, request_ids.traceparent.get()] += 1
            if self._thread is None:
                # Where there is no thread left, the next call tries again.
                self._thread = start_thread(self._run, "wakeups")

    def _run(self) -> None:
        while counts := self._take_counts():
            if not _send_each(counts):
                with self._lock:
                    self._paused_until = time.monotonic() + self._pause_s
                    self._counts.clear()

    def _take_counts(self) -> Counter[tuple[str, str | None]]:
        with self._lock:
            counts, self._counts = self._counts, Counter()
            if not counts:
                self._thread = None
            return counts


def _send_each(counts: Counter[tuple[str, str | None]]) -> bool:
    try:
        return all(send(queue, count, trace) for (queue, trace), count in counts.items())
    except Exception:  # noqa: BLE001 # the thread must not end; the sweeper sends what is missing
        _log.exception("wake-ups failed with an unexpected exception")
        return False


def install(app: Flask) -> None:
    """Give the app a sender of its own."""
    app.extensions[_EXTENSION] = WakeupSender()


def send_later(queue: str) -> None:
    """Send a wake-up without waiting for Redis."""
    sender: WakeupSender = flask_app.extensions[_EXTENSION]
    sender.send(queue)


def refill(client: redis.Redis, queue: str, due: int) -> int:
    """Refill the queue to one wake-up for each of `due` rows; return how many were missing.

    Raise NotSent.
    """
    waiting: int = client.llen(queue)  # type: ignore[assignment] # the library types sync and async calls alike
    missing = min(due, MAX_WAKEUPS) - waiting
    if missing > 0 and not send(queue, missing):
        raise NotSent
    return max(missing, 0)
