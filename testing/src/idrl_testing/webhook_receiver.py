"""An HTTP server that receives webhooks; a test defines its answers."""

import http.server
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from idrl_testing.http_servers import HttpServer, serving


@dataclass(frozen=True)
class Message:
    """One request: the names of its headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What the receiver answers."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)


class _Request(http.server.BaseHTTPRequestHandler):
    respond: Callable[[Message], Answer | None]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = type(self).respond(Message(self.path, headers, body))
        if answer is None:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(answer.status)
        for name, value in {"Content-Length": "0", **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 # the library's name
        """Log no request: tests keep the messages themselves."""


@contextmanager
def receive(respond: Callable[[Message], Answer | None], host: str = "127.0.0.1") -> Iterator[str]:
    """Take messages while the block runs, each in a thread of its own; yield the server's URL.

    `respond` returns the answer; without one the connection breaks off.
    """
    handler = type("WebhookRequest", (_Request,), {"respond": staticmethod(respond)})
    server = HttpServer((host, 0), handler)
    with serving(server):
        yield f"http://{host}:{server.server_address[1]}"
