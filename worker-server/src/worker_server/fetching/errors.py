"""What can go wrong with a stranger's URL. Messages name the host at most: a query may hold somebody's secret."""

from worker_server.errors import FailureCode, Stopped, WorkFailed


class UrlRefused(Exception):
    """The URL cannot be taken, whoever answers there; `code` is stable, `message` is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


class FetchFailed(WorkFailed):
    """The source could not be downloaded; `retryable` when a later try of the whole task may well succeed."""

    def __init__(
        self,
        code: FailureCode | str,
        message: str,
        retryable: bool = False,
        *,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(code, message, retryable=retryable, retry_after_s=retry_after_s)


# Kept for callers that still use this name.
FetchStopped = Stopped


class AttemptFailed(Exception):
    """This attempt ended, another may go better; `failure` is what to say when there is no other."""

    def __init__(self, failure: FetchFailed, *, wait_s: float | None = None) -> None:
        super().__init__(failure)
        self.failure = failure
        self.wait_s = wait_s


class AttemptStalled(AttemptFailed):
    """The source went quiet, or became too slow to wait for."""
