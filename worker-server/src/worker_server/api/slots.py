"""Bounds how many callers of one account, and how many of all, occupy threads for long."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from idrl_common.problems import Problem


class Slots:
    """Counts the calls of this process that send or receive for as long as their caller takes.

    `of_account` and `of_all` are the answers to a call for which there is no slot.
    """

    def __init__(
        self, at_once: int, at_once_per_account: int, *, of_account: Problem, of_all: Problem
    ) -> None:
        self._at_once, self._at_once_per_account = at_once, at_once_per_account
        self._of_account, self._of_all = of_account, of_all
        self._guard = threading.Lock()
        self._busy: Counter[int] = Counter()

    def take(self, owner_id: int) -> Callable[[], None]:
        """Occupy a slot and return what frees it, once; raise a Problem where none is free."""
        with self._guard:
            if self._busy[owner_id] >= self._at_once_per_account:
                raise replace(self._of_account)
            if self._busy.total() >= self._at_once:
                raise replace(self._of_all)
            self._busy[owner_id] += 1
        freed = threading.Lock()

        def free() -> None:
            if not freed.acquire(blocking=False):
                return
            with self._guard:
                self._busy[owner_id] -= 1
                if not self._busy[owner_id]:
                    del self._busy[owner_id]

        return free

    @contextmanager
    def taken(self, owner_id: int) -> Iterator[None]:
        """Occupy a slot for the block."""
        free = self.take(owner_id)
        try:
            yield
        finally:
            free()


def slots_for(what: str, at_once: int, at_once_per_account: int) -> Slots:
    """Return slots for `what`, a plural; a call without one is to come again soon."""
    of_account = f"{at_once_per_account} {what} of this account are under way already."
    of_all = f"Too many {what} are under way just now."
    return Slots(
        at_once,
        at_once_per_account,
        of_account=Problem(429, "too_many_requests", of_account, headers={"Retry-After": "2"}),
        of_all=Problem(503, "too_busy", of_all, headers={"Retry-After": "5"}),
    )
