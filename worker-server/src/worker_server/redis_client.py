"""Connections to Redis, with TLS where REDIS_URL begins with rediss://.

The server's certificate must be for the name in the URL and come from the authority in REDIS_CA,
or from one that the machine trusts.
"""

import ssl
from typing import Any

import redis

from worker_server.settings import Settings


def connect(settings: Settings, *, timeout_s: float) -> "redis.Redis":
    """Return a client; nothing is sent before the first command."""
    options: dict[str, Any] = {"socket_timeout": timeout_s, "socket_connect_timeout": 2}
    return redis.Redis.from_url(settings.redis_url, **options, **tls_options(settings))


def tls_options(settings: Settings) -> dict[str, Any]:
    """Return what redis-py and kombu need for TLS, nothing without it."""
    if not settings.redis_url.startswith("rediss://"):
        return {}
    options: dict[str, Any] = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    if settings.redis_ca is not None:
        options["ssl_ca_certs"] = str(settings.redis_ca)
    return options
