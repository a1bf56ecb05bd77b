"""What can go wrong with a stranger's URL. Messages name the host at most: a query may hold somebody's secret."""


class UrlRefused(Exception):
    """The URL cannot be taken, whoever answers there; `code` is stable, `message` is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


class FetchFailed(Exception):
    """The source could not be downloaded; `retryable` when a later try of the whole task may well succeed."""

    def __init__(self, code: str, message: str, retryable: bool = False) -> None:
        super().__init__(code, message, retryable)
        self.code = code
        self.message = message
        self.retryable = retryable

    def __str__(self) -> str:
        return self.message


class FetchStopped(Exception):
    """The download ended because `should_stop` said so."""


class AttemptFailed(Exception):
    """This attempt ended, another may go better; `failure` is what to say when there is no other."""

    def __init__(self, failure: FetchFailed, *, wait_s: float | None = None) -> None:
        super().__init__(failure)
        self.failure = failure
        self.wait_s = wait_s


class AttemptStalled(AttemptFailed):
    """The source went quiet, or became too slow to wait for."""
