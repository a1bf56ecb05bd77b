"""A proxy on loopback that closes connections at a stage that a test chooses."""

import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum, auto

_CHUNK_BYTES = 64 * 1024
_MAX_HEAD_BYTES = 64 * 1024
_CUT_ANSWER_BYTES = 20
# With this option close() sends RST instead of FIN: what was not sent yet is lost.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Stage(StrEnum):
    """Where a call is cut off."""

    BEFORE_REQUEST = auto()
    IN_HEADERS = auto()
    IN_BODY = auto()
    BEFORE_ANSWER = auto()  # the request has arrived whole
    IN_ANSWER = auto()


@dataclass(frozen=True)
class Cut:
    """Cuts one call off, in the body after `body_bytes` of it."""

    stage: Stage
    body_bytes: int = 0


NextCut = Callable[[str], Cut | None]
SeenBytes = Callable[[int], None]


def _no_cut(method: str) -> Cut | None:  # noqa: ARG001 # the signature of NextCut
    return None


class CuttingProxy:
    """Passes each connection's one call on to `upstream_port`.

    `next_cut` tells for a call of a method where to cut it off; `on_body` gets how many bytes of
    bodies have been passed on in all.
    """

    def __init__(self, upstream_port: int) -> None:
        self.next_cut: NextCut = _no_cut
        self.on_body: SeenBytes = lambda _: None
        self.body_bytes = 0
        self.cuts_made: list[tuple[str, Stage]] = []
        self._upstream_port = upstream_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        """Accept calls until the listener is closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_one, args=(client,), daemon=True).start()

    def close(self) -> None:
        """End `serve`."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve_one(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            head, body = _read_head(client)
            method = head.partition(b" ")[0].decode()
            cut = self.next_cut(method)
            if not self._forward(client, head, body, cut) and cut:
                self.cuts_made.append((method, cut.stage))
                if len(self.cuts_made) % 2:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    def _forward(self, client: socket.socket, head: bytes, body: bytes, cut: Cut | None) -> bool:
        """Return whether the call went through whole."""
        if cut and cut.stage is Stage.BEFORE_REQUEST:
            return False
        with socket.create_connection(("127.0.0.1", self._upstream_port)) as upstream:
            if cut and cut.stage is Stage.IN_HEADERS:
                upstream.sendall(head[: len(head) // 2])
                return False
            upstream.sendall(head)
            call = _Call(client, upstream, cut, self._count)
            return call.send_body(body) and call.splice()

    def _count(self, sent_bytes: int) -> None:
        self.body_bytes += sent_bytes
        self.on_body(self.body_bytes)


@dataclass
class _Call:
    client: socket.socket
    upstream: socket.socket
    cut: Cut | None
    count: SeenBytes
    sent_bytes: int = 0

    def splice(self) -> bool:
        """Pass bytes both ways until the answer is whole, or the cut."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.client, selectors.EVENT_READ, self.send_body)
            selector.register(self.upstream, selectors.EVENT_READ, self.send_answer)
            while True:
                for key, _ in selector.select():
                    assert isinstance(key.fileobj, socket.socket)
                    data = key.fileobj.recv(_CHUNK_BYTES)
                    if not data:
                        return True
                    if not key.data(data):
                        return False

    def send_body(self, data: bytes) -> bool:
        """Pass a piece of the body on; return whether the call goes on."""
        is_cut = False
        if self.cut and self.cut.stage is Stage.IN_BODY:
            left_bytes = self.cut.body_bytes - self.sent_bytes
            is_cut = len(data) >= left_bytes
            data = data[:left_bytes]
        self.upstream.sendall(data)
        self.sent_bytes += len(data)
        self.count(len(data))
        return not is_cut

    def send_answer(self, data: bytes) -> bool:
        """Pass a piece of the answer on; return whether the call goes on."""
        if self.cut and self.cut.stage is Stage.BEFORE_ANSWER:
            return False
        if self.cut and self.cut.stage is Stage.IN_ANSWER:
            self.client.sendall(data[:_CUT_ANSWER_BYTES])
            return False
        self.client.sendall(data)
        return True


def _read_head(client: socket.socket) -> tuple[bytes, bytes]:
    """Return the request line and headers, which end the connection now, and what follows."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(_CHUNK_BYTES)
        if not more or len(data) > _MAX_HEAD_BYTES:
            raise ConnectionError("the caller ended in the headers")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lines = [each for each in head.split(b"\r\n") if not each.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"Connection: close", b"", b""]), body


@contextmanager
def cutting_proxy(upstream_port: int) -> Iterator[CuttingProxy]:
    """Serve a proxy while the block runs."""
    proxy = CuttingProxy(upstream_port)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join(10)
