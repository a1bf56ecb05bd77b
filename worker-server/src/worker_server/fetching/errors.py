"""What can go wrong with the URL of a source.

Messages name the host at most: the path and the query may hold a secret.
"""

from worker_server.errors import FailureCode, WorkFailed


class FetchFailed(WorkFailed):
    """The source could not be downloaded; `retryable` when a later download may succeed."""


class UrlRefused(FetchFailed):
    """The URL can never be fetched: POST /tasks already refuses it."""


def transient(code: FailureCode, message: str, retry_after_s: float | None = None) -> FetchFailed:
    """Return the failure of a source that is temporarily unavailable."""
    return FetchFailed(code, message, retryable=True, retry_after_s=retry_after_s)


def storage_full() -> FetchFailed:
    """Return the failure of a share that has no room for the source."""
    return FetchFailed(FailureCode.STORAGE_FULL, "There is no room for the file.", retryable=True)


class AuthoritiesUnreadable(Exception):
    """This machine cannot read its certificate authorities: no fault of the source."""


class RequestFailed(Exception):
    """One request failed and may be repeated; `failure` is raised when it is not repeated."""

    def __init__(self, failure: FetchFailed) -> None:
        super().__init__(failure)
        self.failure = failure


class RequestStalled(RequestFailed):
    """The source stopped sending, or sends too slowly."""
