"""A stranger's receiver of webhooks: the only part of the tests of webhooks that is not real."""

import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks.webhooks import Webhook as Verifier


@dataclass
class Receiver:
    """A stranger's receiver: what it was sent, and what it answers."""

    url: str = ""
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    pause_s: float = 0
    before_answer: Callable[[], object] = bool
    is_killed: bool = False

    def verified(self, secret: str) -> list[Any]:
        """Return the bodies, which the public library has verified."""
        verifier = Verifier(secret)
        return [verifier.verify(body, headers) for headers, body in self.received]


@contextmanager
def listening() -> Iterator[Receiver]:
    """Yield a receiver that listens on loopback."""
    state = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.received.append(({k.lower(): v for k, v in self.headers.items()}, body))
            time.sleep(state.pause_s)
            state.before_answer()
            if state.is_killed:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(state.status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/hook?key=1"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()
