"""Connections that go to the very address that was checked, and to no other."""

import logging
import socket
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from ipaddress import ip_address
from typing import Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import ConnectionPool, HTTPConnectionPool

from worker_server.fetching.addresses import AllowedHosts, is_public
from worker_server.fetching.errors import AttemptFailed, FetchFailed
from worker_server.fetching.watchdog import Watchdog

Answer = tuple[socket.AddressFamily, socket.SocketKind, int, tuple[Any, ...]]

# Its lines hold whole URLs, and with the query whatever secret is in it.
logging.getLogger("urllib3").setLevel(logging.ERROR)


class Dialer:
    """Opens sockets: one look-up of the name, every answer checked, the connection made to that answer."""

    def __init__(self, allowed: AllowedHosts, watchdog: Watchdog, connect_s: float) -> None:
        self._allowed = allowed
        self._watchdog = watchdog
        self._connect_s = connect_s

    def dial(self, host: str, port: int) -> socket.socket:
        """Return a connected socket; raises `FetchFailed` (`url_private_address`) or `AttemptFailed`."""
        answers = self._look_up(host, port)
        for *_, address in answers:
            self._check(host, address)
        for answer in answers:
            connection = self._connect(answer)
            if connection is not None:
                return connection
            self._watchdog.check()
        raise AttemptFailed(
            FetchFailed("source_unavailable", f"{host} does not accept connections.")
        )

    def _check(self, host: str, address: tuple[Any, ...]) -> None:
        found, port = ip_address(address[0]), address[1]
        if not (
            is_public(found) or self._allowed.lists(host, port) or self._allowed.lists(found, port)
        ):
            raise FetchFailed(
                "url_private_address", f"{host} leads to an address that is not public."
            )

    def _connect(self, answer: Answer) -> socket.socket | None:
        family, kind, protocol, address = answer
        try:
            connection = socket.socket(family, kind, protocol)
        except OSError:  # such as IPv6 on a machine that has none
            return None
        try:
            self._watchdog.hold(connection)
            connection.settimeout(self._connect_s)
            connection.connect(address)
        except OSError:
            connection.close()
            return None
        except BaseException:
            connection.close()
            raise
        return connection

    def _look_up(self, host: str, port: int) -> list[Answer]:
        """Ask the resolver once, in a thread of its own: it has no deadline and cannot be interrupted."""
        answers: Future[list[Answer]] = Future()
        threading.Thread(
            target=_resolve, args=(host, port, answers), name="fetch-dns", daemon=True
        ).start()
        while True:
            try:
                return answers.result(timeout=0.1)
            except TimeoutError:
                self._watchdog.check()
            except socket.gaierror as error:
                raise AttemptFailed(
                    _unknown(host, temporary=error.errno == socket.EAI_AGAIN)
                ) from None
            except (OSError, UnicodeError):
                raise AttemptFailed(_unknown(host, temporary=False)) from None


def _resolve(host: str, port: int, answers: Future[list[Answer]]) -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        answers.set_result(
            [(family, kind, protocol, address) for family, kind, protocol, _, address in found]
        )
    except BaseException as error:  # noqa: BLE001 # it is raised where the answer is waited for
        answers.set_exception(error)


def _unknown(host: str, *, temporary: bool) -> FetchFailed:
    # A resolver that does not answer is more likely our trouble than the source's.
    said = "could not be looked up" if temporary else "is not known"
    return FetchFailed("source_name_unknown", f"The host name {host} {said}.", retryable=temporary)


class PinnedAdapter(HTTPAdapter):
    """An adapter all of whose connections are opened by one dialer; certificates are still checked by name."""

    def __init__(self, dialer: Dialer) -> None:
        self._connection_classes = _connection_classes(dialer)
        super().__init__()

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,  # noqa: ARG002 # a proxy would resolve the name once more
        cert: tuple[str, str] | str | None = None,
    ) -> ConnectionPool:
        pool = super().get_connection_with_tls_context(request, verify, None, cert)
        if not isinstance(pool, HTTPConnectionPool):
            raise TypeError(f"no pinned connections for {type(pool).__name__}")
        pool.ConnectionCls = self._connection_classes[pool.scheme]
        return pool


def _connection_classes(dialer: Dialer) -> dict[str, type[HTTPConnection]]:
    class PinnedHTTPConnection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return dialer.dial(self._dns_host, self.port)

    class PinnedHTTPSConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return dialer.dial(self._dns_host, self.port)

    return {"http": PinnedHTTPConnection, "https": PinnedHTTPSConnection}
