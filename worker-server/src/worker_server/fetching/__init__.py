"""Getting a stranger's file safely: which addresses, which limits, how to resume."""

from worker_server.fetching.addresses import is_public
from worker_server.fetching.downloading import download
from worker_server.fetching.errors import FetchFailed, FetchStopped, UrlRefused
from worker_server.fetching.limits import Download, FetchLimits
from worker_server.fetching.urls import check_url

__all__ = [
    "Download",
    "FetchFailed",
    "FetchLimits",
    "FetchStopped",
    "UrlRefused",
    "check_url",
    "download",
    "is_public",
]
