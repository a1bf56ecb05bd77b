"""An HTTP site on loopback whose misbehaviour each test defines, and a resolver with a table."""

import contextlib
import socket
import ssl
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from worker_server.errors import Stopped
from worker_server.fetching import Download, FetchFailed, FetchLimits, download

Handler = Callable[["Exchange"], object]
OpenSite = Callable[..., "Site"]

LIMITS = FetchLimits(
    max_bytes=64 * 1024**2,
    timeout_s=30,
    stall_s=10,
    connect_s=5,
    first_byte_s=10,
    min_bytes_per_s=0,
    max_retries=3,
    backoff_s=0.01,
    max_backoff_s=0.05,
)


@dataclass
class Exchange:
    """One request as it came, and the socket to answer on."""

    connection: socket.socket
    path: str
    headers: dict[str, str]

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def head(self, status: int = 200, /, **headers: object) -> None:
        """Send a status line and headers; `Content_Length=3` becomes `Content-Length: 3`."""
        lines = [f"HTTP/1.1 {status} Whatever", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    def reply(self, body: bytes, status: int = 200, /, **headers: object) -> None:
        """Send a whole answer."""
        self.head(status, Content_Length=len(body), **headers)
        self.send(body)

    def reset(self) -> None:
        """Break the connection off with a TCP reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def until_gone(self) -> None:
        """Return when the other side has closed the connection."""
        while self.connection.recv(4096):
            pass

    def is_gone(self, wait_s: float) -> bool:
        """Return whether the other side closed the connection within this time."""
        self.connection.settimeout(wait_s)
        try:
            return not self.connection.recv(4096)
        except TimeoutError:
            return False
        finally:
            self.connection.settimeout(None)


def _not_found(exchange: Exchange) -> None:
    exchange.reply(b"", 404)


@dataclass
class Site:
    """A web site: `on(path, first, second)` answers the first request with `first`, later
    ones with `second`.

    Other paths get `elsewhere`, else status 404. A site that has `instead` does just that with each
    connection, and speaks no HTTP.
    """

    host: str = "127.0.0.1"
    port: int = 0
    tls: ssl.SSLContext | None = None
    elsewhere: Handler | None = None
    instead: Callable[[socket.socket], object] | None = None
    requests: list[Exchange] = field(default_factory=list)
    accepted: int = 0

    def __post_init__(self) -> None:
        self._handlers: dict[str, list[Handler]] = defaultdict(list)
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listener = socket.create_server((self.host, self.port), family=family)
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept)

    @property
    def address(self) -> str:
        """How to list the site in `allow_hosts`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def on(self, path: str, *handlers: Handler) -> str:
        """Set the answers for a path and return its URL."""
        self._handlers[path] = list(handlers)
        return self.url(path)

    def url(self, path: str, host: str | None = None) -> str:
        authority = f"{host}:{self.port}" if host else self.address
        return f"{'https' if self.tls else 'http'}://{authority}{path}"

    def close(self) -> None:
        for listening in [self._listener, *self._connections]:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "a handler is still busy"

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.accepted += 1
                self._connections.append(connection)
                self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        # The client may disconnect at any time, or send something else than HTTP.
        with contextlib.suppress(OSError, ValueError):
            if self.instead:
                self.instead(connection)
                connection.close()
                return
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
                self._connections.append(connection)
            with connection, connection.makefile("rb") as lines:
                _, path, _ = lines.readline().decode("latin-1").split(" ")
                fields = iter(lambda: lines.readline().decode("latin-1").strip(), "")
                headers = {
                    name.lower(): value
                    for name, _, value in (line.partition(": ") for line in fields)
                }
                exchange = Exchange(connection, path, headers)
                self.requests.append(exchange)
                handlers = self._handlers[path.partition("?")[0]] or [self.elsewhere or _not_found]
                (handlers.pop(0) if len(handlers) > 1 else handlers[0])(exchange)


@contextlib.contextmanager
def unresponsive_listener(host: str, port: int = 0) -> Iterator[int]:
    """Listen with a full queue, and yield the port: a connection to it hangs while it is made."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        socket.create_server((host, port), family=family, backlog=0) as listener,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(4):
            waiting = stack.enter_context(socket.socket(family))
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@dataclass
class Fetcher:
    """Downloads to `path`; the limits are generous unless a test says otherwise."""

    path: Path
    allow_hosts: set[str]
    ca_bundle: Path | None = None
    deny_hosts: set[str] = field(default_factory=set)
    progress: list[tuple[int, int | None]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def __call__(self, url: str, **limits: Any) -> Download:  # noqa: ANN401 # fields of FetchLimits
        return download(
            url,
            self.path,
            limits=replace(LIMITS, **limits),
            allow_hosts=self.allow_hosts,
            deny_hosts=self.deny_hosts,
            on_progress=lambda size, total: self.progress.append((size, total)),
            should_stop=self.stop.is_set,
            ca_bundle=self.ca_bundle,
        )

    def fails(self, url: str, **limits: float) -> FetchFailed:
        """Return the failure; assert that no file is left and that the message has no secret."""
        with pytest.raises(FetchFailed) as caught:
            self(url, **limits)
        assert not self.path.is_symlink()
        assert not self.path.exists()
        query = url.partition("?")[2]
        assert not query or query not in caught.value.message
        return caught.value

    def stops(self, url: str, **limits: float) -> None:
        with pytest.raises(Stopped):
            self(url, **limits)
        assert not self.path.exists()


@dataclass
class Names:
    """What names resolve to: `answers[name]` are the successive answers, the last repeated, and
    `resolved` are the names that were resolved.

    `127.0.0.1:4711` in an answer leads to that port whatever the URL says, so that tests need no
    privileged ports.
    """

    answers: dict[str, list[Sequence[str] | Exception | Callable[[], Sequence[str]]]] = field(
        default_factory=dict
    )
    resolved: list[str] = field(default_factory=list)
