"""Takes the webhooks of all callers, and checks who has sent them."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

_REFUSED_ONCE = 5


@dataclass
class Receiver:
    """A running receiver: what has arrived, and what came unsigned or signed by another secret."""

    url: str
    verifiers: dict[str, Webhook] = field(default_factory=dict)
    arrived: set[tuple[str, str]] = field(default_factory=set)
    forged: list[str] = field(default_factory=list)
    _messages: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def has_heard_of(self, task: dict[str, object]) -> bool:
        """Tell whether it was told how an ended task has ended."""
        return (f"task.{task['status']}", str(task["task_id"])) in self.arrived

    def know_secret(self, path: str, secret: str) -> None:
        """Expect the messages at a path to be signed by this secret."""
        self.verifiers[path] = Webhook(secret)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Note a message and return the status of the answer: every fifth one is refused once."""
        name = headers["webhook-id"]
        with self._lock:
            try:
                self.verifiers[path].verify(body, headers)
            except WebhookVerificationError as error:
                self.forged.append(f"a message at {path}: {error}")
            if name not in self._messages:
                self._messages.add(name)
                if len(self._messages) % _REFUSED_ONCE == 0:
                    return 503
            event = json.loads(body)
            self.arrived.add((event["type"], event["data"].get("task_id", "")))
        return 204


@contextmanager
def listening() -> Iterator[Receiver]:
    """Take webhooks on loopback while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass = _handler(receiver)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(receiver.take(self.path, headers, body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 # the library's
            """Say nothing."""

    return Handler
