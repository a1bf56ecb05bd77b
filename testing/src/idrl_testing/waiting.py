"""Waits for events, so that no test sleeps for a guessed number of seconds."""

import time
from collections.abc import Callable

# Generous: it ends a wait for what never happens, and is no performance limit.
LIMIT_S = 300.0


def wait_until(
    condition: Callable[[], object],
    within_s: float = LIMIT_S,
    *,
    poll_s: float = 0.05,
    describe: Callable[[], object] = lambda: "the condition",
) -> None:
    """Return as soon as the condition holds; fail after `within_s`, quoting `describe()`."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {describe()}"
        time.sleep(poll_s)
