"""Download a file from an untrusted URL: allowed addresses, limits, resuming."""

from worker_server.fetching.addresses import EgressRules, is_public
from worker_server.fetching.downloading import download
from worker_server.fetching.errors import FetchFailed, UrlRefused
from worker_server.fetching.limits import Download, FetchLimits
from worker_server.fetching.urls import check_url

__all__ = [
    "Download",
    "EgressRules",
    "FetchFailed",
    "FetchLimits",
    "UrlRefused",
    "check_url",
    "download",
    "is_public",
]
