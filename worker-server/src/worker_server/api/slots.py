"""Bounds how many slow calls of one account, and of all accounts, occupy threads."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from idrl_common.problems import Problem

# The last slots, this share of all, are for accounts that have none: however slowly a few accounts
# send or read, others have their turn.
_KEPT_SHARE = 1 / 8


class Slots:
    """Counts the slow calls of this process, such as downloads and uploads, against two bounds.

    `of_account` and `of_all` are the answers to a call for which there is no slot.
    """

    def __init__(
        self,
        max_parallel: int,
        max_parallel_per_account: int,
        *,
        of_account: Problem,
        of_all: Problem,
    ) -> None:
        self._max_parallel, self._max_parallel_per_account = max_parallel, max_parallel_per_account
        self._of_account, self._of_all = of_account, of_all
        self._lock = threading.Lock()
        self._busy: Counter[int] = Counter()

    def acquire(self, owner_id: int) -> Callable[[], None]:
        """Take a slot; return the function that frees it. Raise a Problem where none is free."""
        with self._lock:
            if self._busy[owner_id] >= self._max_parallel_per_account:
                raise replace(self._of_account)
            kept = int(self._max_parallel * _KEPT_SHARE) if self._busy[owner_id] else 0
            if self._busy.total() >= self._max_parallel - kept:
                raise replace(self._of_all)
            self._busy[owner_id] += 1
        freed = threading.Lock()

        def free() -> None:
            if not freed.acquire(blocking=False):
                return
            with self._lock:
                self._busy[owner_id] -= 1
                if not self._busy[owner_id]:
                    del self._busy[owner_id]

        return free

    @contextmanager
    def slot(self, owner_id: int) -> Iterator[None]:
        """Hold a slot for the block; raise a Problem where none is free."""
        free = self.acquire(owner_id)
        try:
            yield
        finally:
            free()


def slots_for(what: str, max_parallel: int, max_parallel_per_account: int) -> Slots:
    """Return slots for `what`, a plural noun; a refused call gets Retry-After."""
    of_account = f"{max_parallel_per_account} {what} of this account are already in progress."
    of_all = f"Too many {what} are in progress at the moment."
    return Slots(
        max_parallel,
        max_parallel_per_account,
        of_account=Problem(429, "too_many_requests", of_account, headers={"Retry-After": "2"}),
        of_all=Problem(503, "too_busy", of_all, headers={"Retry-After": "5"}),
    )
