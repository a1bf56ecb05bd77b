"""A record of calls and responses, which the audit compares with the system's state."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from chaos.sources import Source
from chaos.uploads import Upload


@dataclass(frozen=True)
class Call:
    """One call and its answer; `status` is None where the connection broke before any."""

    at: float
    method: str
    path: str
    elapsed_s: float
    status: int | None
    retry_after: str | None = None
    fault: str | None = None


@dataclass
class Submission:
    """One POST /tasks, repeated under one idempotency key until a task is accepted.

    Its source is a URL, or a file that is sent by `upload` first. `task_ids` holds the ids of all
    responses: more than one is a duplicate task.
    """

    account: int
    source: Source
    key: str
    upload: Upload | None = None
    task_ids: set[str] = field(default_factory=set)
    delete_sent: bool = False
    delete_status: str | None = None
    retries: int = 0

    @property
    def task_id(self) -> str | None:
        return min(self.task_ids, default=None)


class History:
    """Calls and submissions of all callers, and the fault that was on at the time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls: list[Call] = []
        self.submissions: list[Submission] = []
        self.losses: list[str] = []
        self.unrecovered: list[str] = []
        self.fault: str | None = None

    def record_call(
        self, method: str, path: str, began: float, status: int | None, headers: Mapping[str, str]
    ) -> None:
        """Record an answer, or the lack of one."""
        elapsed_s = time.monotonic() - began
        after = headers.get("Retry-After")
        call = Call(time.time(), method, path, elapsed_s, status, after, self.fault)
        with self._lock:
            self.calls.append(call)

    def record_submission(self, submission: Submission) -> None:
        with self._lock:
            self.submissions.append(submission)

    def record_loss(self, message: str) -> None:
        """Record something that the system has confirmed and does not have any more."""
        with self._lock:
            self.losses.append(message)

    def record_unrecovered(self, message: str) -> None:
        """Record that the system did not recover from a fault."""
        with self._lock:
            self.unrecovered.append(message)

    def slow_responses(self, limit_s: float) -> list[Call]:
        return [call for call in self.calls if call.elapsed_s > limit_s]

    def server_errors_without_retry_after(self) -> list[Call]:
        """Return the answers 5xx that have no Retry-After."""
        return [
            call
            for call in self.calls
            if call.status is not None and call.status >= 500 and not call.retry_after
        ]
