"""Estimates when queued tasks will be done, from the queue and the speed of recent tasks.

Owners take turns, so the n-th task of an owner waits for up to n tasks of every other owner.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from itertools import zip_longest

from worker_server.db import transaction
from worker_server.queue.statements import load

_FRESH_S = 5.0
# No estimates for a longer queue: reading it would cost more than they are worth.
_MAX_QUEUED = 5000
_QUEUED = load("queued_tasks")
_SPEED = load("task_speed")


class QueueEstimates:
    """Seconds until queued tasks are done, at most some seconds old."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._seconds: Mapping[str, float] = {}

    def seconds_left(self, task_id: str) -> float | None:
        """Return the estimate for a queued task; None while there is none."""
        if self._is_old() and self._lock.acquire(blocking=False):
            try:
                self._seconds = read_estimates()
                self._read_at = time.monotonic()
            finally:
                self._lock.release()
        return self._seconds.get(task_id)

    def _is_old(self) -> bool:
        return time.monotonic() - self._read_at > _FRESH_S


def read_estimates() -> dict[str, float]:
    """Return the estimate for each queued task; none while work is paused or no task was done."""
    with transaction() as session:
        speed = session.execute(_SPEED).one()
        if speed.task_s is None:
            return {}
        queued = session.execute(_QUEUED, {"limit": _MAX_QUEUED + 1}).all()
    if len(queued) > _MAX_QUEUED:
        return {}
    by_owner: dict[int, list[str]] = defaultdict(list)
    for task_id, owner_id in queued:
        by_owner[owner_id].append(task_id)
    parallel, estimates, ahead = max(1, speed.running), {}, 0
    for round_of_turns in zip_longest(*by_owner.values()):
        turn = [task_id for task_id in round_of_turns if task_id is not None]
        ahead += len(turn)  # worst case: this owner's turn is the last of the round
        left_s = round(speed.task_s * (1 + (ahead - 1) / parallel), 1)
        estimates.update(dict.fromkeys(turn, left_s))
    return estimates
