"""Checks the URLs that callers give, before anything is accepted."""

from collections.abc import Collection

from idrl_common.problems import FieldError, Problem
from worker_server.fetching import UrlRefused, check_url
from worker_server.settings import current


def url_error(field: str, url: str | None, allow_hosts: Collection[str]) -> FieldError | None:
    """Return why the URL in this field could never be reached; None where it could."""
    if url is None:
        return None
    try:
        check_url(url, allow_hosts=allow_hosts, deny_hosts=current().fetch_deny_hosts)
    except UrlRefused as error:
        return {"field": field, "code": error.code, "message": error.message}
    return None


def check_callback_url(url: str | None) -> None:
    """Raise a 400 Problem for a `callback_url` that could never be reached."""
    error = url_error("callback_url", url, current().webhook_allow_hosts)
    if error is not None:
        raise Problem(400, "invalid_body", "The body has fields that are wrong.", errors=[error])
