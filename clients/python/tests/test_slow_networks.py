"""A network that is slow to take what is sent, and one that takes nothing more."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from idrl_client import Client, Unreachable, connection

# The peer, a thread of this process, may be kept waiting for a processor for most of it.
LIMIT_S = 3.0
BODY_BYTES = 8 * 1024 * 1024
RATE_BYTES_S = BODY_BYTES // 5
BRAND = b'{"brand_id": "b", "name": "Race"}'
ANSWER = (
    b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    % (len(BRAND), BRAND)
)


@contextmanager
def serve_one_call(serve: Callable[[socket.socket], object]) -> Iterator[str]:
    """Give the first connection to a function, in a thread."""

    def accept() -> None:
        peer, _ = listening.accept()
        with peer:
            serve(peer)

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


def read_slowly(peer: socket.socket) -> None:
    head, _, body = peer.recv(65536).partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].split()[0]
    left_bytes = int(length) - len(body)
    while left_bytes:
        chunk = peer.recv(min(left_bytes, RATE_BYTES_S // 20))
        if not chunk:
            return  # the client has given up
        left_bytes -= len(chunk)
        time.sleep(1 / 20)
    peer.sendall(ANSWER)


@pytest.fixture(autouse=True)
def _short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_CONNECT_S", LIMIT_S)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "logo.png"
    path.write_bytes(bytes(BODY_BYTES))
    return path


def test_body_may_take_longer_than_the_time_limit(file: Path) -> None:
    with serve_one_call(read_slowly) as url:
        answer = Client(url, "k").create_brand("Ours", {"before": file})
        assert answer == json.loads(BRAND)


def test_body_that_nobody_takes_is_an_error(file: Path) -> None:
    has_given_up = threading.Event()
    with serve_one_call(lambda _: has_given_up.wait()) as url:
        try:
            with pytest.raises(Unreachable):
                Client(url, "k").create_brand("Ours", {"before": file})
        finally:
            has_given_up.set()
