"""Connections to exactly the address that was checked, so that DNS rebinding has no effect."""

import logging
import socket
import threading
from collections import defaultdict
from concurrent.futures import Future, wait
from ipaddress import ip_address
from itertools import zip_longest
from pathlib import Path
from typing import Any

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection, HTTPSConnection

from worker_server.errors import FailureCode
from worker_server.fetching.addresses import EgressRules, is_public
from worker_server.fetching.errors import FetchFailed, RequestFailed, transient
from worker_server.fetching.limits import FetchLimits
from worker_server.fetching.response_headers import StrictResponse
from worker_server.fetching.urls import HttpUrl
from worker_server.fetching.watchdog import Watchdog

# All other errors are the name server's or this machine's: no memory, no descriptor left.
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY})
Answer = tuple[socket.AddressFamily, socket.SocketKind, int, tuple[Any, ...]]

# urllib3 logs whole URLs, and the query of one may hold a secret.
logging.getLogger("urllib3").setLevel(logging.ERROR)


class Dialer:
    """Opens sockets: resolves the name once, checks every answer, and connects to a checked one."""

    def __init__(self, rules: EgressRules, watchdog: Watchdog, limits: FetchLimits) -> None:
        self._rules = rules
        self._watchdog = watchdog
        self._limits = limits

    def dial(self, host: str, port: int) -> socket.socket:
        """Return a connected socket.

        Raises `FetchFailed` when an address is not allowed, else `RequestFailed`.
        """
        answers = self._resolve(host, port)
        for *_, address in answers:
            self._check(host, address)
        connect_s = min(self._limits.connect_s, self._limits.first_byte_s / 2 / len(answers))
        for answer in _families_in_turn(answers):
            connection = self._connect(answer, connect_s)
            if connection is not None:
                return connection
            self._watchdog.check()
        raise RequestFailed(
            transient(FailureCode.SOURCE_UNAVAILABLE, f"{host} does not accept connections.")
        )

    def _check(self, host: str, address: tuple[Any, ...]) -> None:
        resolved, port = ip_address(address[0]), address[1]
        if self._rules.denies(resolved, port):
            raise FetchFailed(
                FailureCode.URL_HOST_NOT_ALLOWED, f"Downloads from {host} are not allowed."
            )
        if not (
            is_public(resolved)
            or self._rules.allows(host, port)
            or self._rules.allows(resolved, port)
        ):
            raise FetchFailed(
                FailureCode.URL_PRIVATE_ADDRESS, f"{host} leads to an address that is not public."
            )

    def _connect(self, answer: Answer, timeout_s: float) -> socket.socket | None:
        family, kind, protocol, address = answer
        try:
            connection = socket.socket(family, kind, protocol)
        except OSError:  # for example IPv6 on a machine without it
            return None
        try:
            self._watchdog.watch(connection)
            connection.settimeout(timeout_s)
            connection.connect(address)
            connection.settimeout(self._limits.socket_timeout_s)
        except OSError:
            connection.close()
            return None
        except BaseException:
            connection.close()
            raise
        return connection

    def _resolve(self, host: str, port: int) -> list[Answer]:
        """Call the resolver once, in a thread: it has no deadline and cannot be interrupted."""
        answers: Future[list[Answer]] = Future()
        threading.Thread(
            target=_getaddrinfo, args=(host, port, answers), name="fetch-dns", daemon=True
        ).start()
        while wait([answers], timeout=0.1).not_done:
            self._watchdog.check()
        try:
            return answers.result()
        except (OSError, UnicodeError) as error:
            raise RequestFailed(_unresolved(host, error)) from None


def _families_in_turn(answers: list[Answer]) -> list[Answer]:
    """Return the answers, IPv6 and IPv4 alternating: one of them may lead nowhere (RFC 8305, 4)."""
    by_family = defaultdict(list)
    for answer in answers:
        by_family[answer[0]].append(answer)
    return [answer for turn in zip_longest(*by_family.values()) for answer in turn if answer]


def _getaddrinfo(host: str, port: int, answers: Future[list[Answer]]) -> None:
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        answers.set_result(
            [(family, kind, protocol, address) for family, kind, protocol, _, address in entries]
        )
    except BaseException as error:  # noqa: BLE001 # it is raised where the answer is waited for
        answers.set_exception(error)


def _unresolved(host: str, error: Exception) -> FetchFailed:
    """Return the failure: final if the name does not exist, transient if no server answered."""
    is_wrong = isinstance(error, UnicodeError) or (
        isinstance(error, socket.gaierror) and error.errno in _NO_SUCH_NAME
    )
    if is_wrong:
        return FetchFailed(FailureCode.SOURCE_NAME_UNKNOWN, f"The host name {host} is not known.")
    message = f"The host name {host} could not be resolved."
    return transient(FailureCode.SOURCE_NAME_UNKNOWN, message)


class Connector:
    """Makes HTTP connections that `dialer` opens; certificates are checked against the host name.

    There is no connection pool: a pool rewrites the request's target, and no connection is used
    twice because the bodies of redirects are not read. `ca_bundle` replaces the usual authorities.
    """

    def __init__(self, dialer: Dialer, ca_bundle: Path | None, timeout_s: float) -> None:
        self._dialer = dialer
        self._ca_bundle = str(ca_bundle) if ca_bundle else DEFAULT_CA_BUNDLE_PATH
        self._timeout_s = timeout_s

    def connection(self, url: HttpUrl) -> HTTPConnection:
        """Return a connection for the URL that is opened by its first request."""
        connection: _PinnedHTTPConnection | _PinnedHTTPSConnection
        if url.scheme == "http":
            connection = _PinnedHTTPConnection(url.host, url.port, timeout=self._timeout_s)
        else:
            connection = _PinnedHTTPSConnection(
                url.host,
                url.port,
                timeout=self._timeout_s,
                cert_reqs="CERT_REQUIRED",
                ca_certs=self._ca_bundle,
            )
        connection.dialer = self._dialer
        return connection


class _PinnedHTTPConnection(HTTPConnection):
    dialer: Dialer
    response_class = StrictResponse

    def _new_conn(self) -> socket.socket:
        return self.dialer.dial(self._dns_host, self.port)


class _PinnedHTTPSConnection(HTTPSConnection):
    dialer: Dialer
    response_class = StrictResponse

    def _new_conn(self) -> socket.socket:
        return self.dialer.dial(self._dns_host, self.port)
