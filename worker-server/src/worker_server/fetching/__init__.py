"""Getting a stranger's file safely: which addresses, which limits, how to resume."""

from worker_server.fetching.addresses import is_public
from worker_server.fetching.errors import UrlRefused
from worker_server.fetching.urls import check_url

__all__ = ["UrlRefused", "check_url", "is_public"]
