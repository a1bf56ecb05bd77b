"""HTTP servers whose answers a test defines: each request has a thread of its own."""

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from socketserver import BaseServer
from typing import Any


class HttpServer(ThreadingHTTPServer):
    """Prints the errors of its handler, except that a client has disconnected."""

    request_queue_size = 128  # with the default of 5, connections are late by seconds

    def handle_error(
        self,
        request: socket.socket | tuple[bytes, socket.socket],
        client_address: Any,  # noqa: ANN401 # of any family
    ) -> None:
        """Print the error that is being handled."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving(server: BaseServer) -> Iterator[None]:
    """Answer requests while the block runs, then close the server."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
