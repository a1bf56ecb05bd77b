"""A steady stream of calls at a public address, and the response to each."""

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import urllib3

from chaos.target import Target

_THREADS = 10
# Both have Retry-After: nginx answers for an absent web app, the web app for the tasks service.
_REFUSED = (502, 503)


@dataclass
class Traffic:
    """Calls at a steady rate: when each was answered, and how; None is a reset connection.

    GETs, or with a `body` POSTs of it as JSON.
    """

    target: Target
    path: str
    token: str
    rate_per_s: float = 200
    body: object = None
    answers: list[tuple[float, float, int | None]] = field(default_factory=list)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Send calls while the block runs."""
        stopping = threading.Event()
        threads = [threading.Thread(target=self._run, args=(stopping,)) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stopping.set()
            for thread in threads:
                thread.join()

    def _run(self, stopping: threading.Event) -> None:
        url = self.target.installation.url
        method = "GET" if self.body is None else "POST"
        headers = {"Authorization": f"Bearer {self.token}"}
        with urllib3.connection_from_url(url, maxsize=1, retries=False, timeout=30) as pool:
            due = time.monotonic()
            while not stopping.is_set():
                began = time.monotonic()
                status: int | None = None
                with suppress(urllib3.exceptions.HTTPError):
                    status = pool.request(
                        method, self.path, headers=headers, json=self.body, retries=False
                    ).status
                self.answers.append((time.time(), time.monotonic() - began, status))
                due = max(due + _THREADS / self.rate_per_s, time.monotonic() - 1)
                time.sleep(max(0.0, due - time.monotonic()))

    def resets(self) -> int:
        return sum(status is None for _, _, status in self.answers)

    def other_errors(self) -> int:
        """Return how many answers were neither good nor one of `_REFUSED`."""
        return sum(status not in (200, *_REFUSED, None) for _, _, status in self.answers)

    def refused_s(self) -> float:
        """Return the time from the first refusal to the last."""
        at = [when for when, _, status in self.answers if status in _REFUSED]
        return max(at) - min(at) if at else 0.0

    def p95_s(self) -> float:
        elapsed = [elapsed for _, elapsed, _ in self.answers]
        return statistics.quantiles(elapsed, n=20, method="inclusive")[-1]
