"""When failed work is retried: by its fault code, how often and for how long."""

from dataclasses import dataclass
from datetime import UTC, datetime

from worker_server.errors import Bound, FailureCode, WorkFailed, handling_of
from worker_server.queue.claims import Lease, TaskLease

_FIRST_PAUSE_S = 5.0
_COUNTED_PAUSE_S = 60.0
_SOURCE_PAUSE_S = 120.0
_UNCOUNTED_PAUSE_S = 600.0
# If less than this remains of SOURCE_RETRY_S, do not try again.
_MIN_PAUSE_S = 1.0


@dataclass(frozen=True)
class RetryLimits:
    """MAX_ATTEMPTS and SOURCE_RETRY_S."""

    max_attempts: int
    source_retry_s: float = 900.0

    def most_attempts(self, code: FailureCode) -> int:
        """Return how many counted failures end the work, the last one with this code."""
        is_repeatable = handling_of(code).bound is Bound.SECOND
        return min(2, self.max_attempts) if is_repeatable else self.max_attempts


@dataclass(frozen=True)
class History:
    """Earlier attempts of a row: its failures, this one included, and since when it waits."""

    failures: int
    waiting_since: datetime | None = None
    now: datetime | None = None

    @property
    def waited_s(self) -> float:
        """Seconds since the source was first unavailable."""
        if self.waiting_since is None or self.now is None:
            return 0.0
        return max(0.0, (self.now - self.waiting_since.astimezone(UTC)).total_seconds())


def waits_for_source(lease: Lease, failure: WorkFailed) -> bool:
    """Return whether the task waits for its source, for SOURCE_RETRY_S at most."""
    is_unavailable = handling_of(failure.code).bound is Bound.SOURCE_RETRY
    return isinstance(lease, TaskLease) and failure.retryable and is_unavailable


def pause_s(
    lease: Lease, failure: WorkFailed, history: History, limits: RetryLimits
) -> float | None:
    """Return how long to wait before the next attempt; None when there is none.

    It doubles from 5 s, up to one minute where attempts are counted, two minutes for a source that
    is unavailable, and ten for a fault of the share or an internal one.
    """
    if not failure.retryable:
        return None
    if waits_for_source(lease, failure):
        return _pause_for_source_s(lease, failure, history, limits)
    if failure.counted and history.failures >= limits.most_attempts(failure.code):
        return None
    if failure.retry_after_s is not None:
        return failure.retry_after_s
    tries = history.failures if failure.counted else lease.attempt
    return _backoff_s(tries, _COUNTED_PAUSE_S if failure.counted else _UNCOUNTED_PAUSE_S)


def _pause_for_source_s(
    lease: Lease, failure: WorkFailed, history: History, limits: RetryLimits
) -> float | None:
    left_s = limits.source_retry_s - history.waited_s
    if failure.retry_after_s is not None:
        return failure.retry_after_s if failure.retry_after_s <= left_s else None
    pause = min(left_s, _backoff_s(lease.attempt, _SOURCE_PAUSE_S))
    return pause if pause >= _MIN_PAUSE_S else None


def _backoff_s(tries: int, longest_s: float) -> float:
    return min(longest_s, _FIRST_PAUSE_S * 2.0 ** min(max(tries, 1) - 1, 10))
