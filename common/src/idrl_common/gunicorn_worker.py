"""gunicorn's threaded worker, with own threads for health checks, for files and for uploads.

It ends on a stop signal; in a reload, as soon as its successors answer.
"""

import math
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn.workers.gthread import (  # type: ignore[import-untyped]
    TConn,
    ThreadWorker,
)

from idrl_common.gunicorn_reload import RELOAD

_HEALTH = (b"GET /health", b"HEAD /health")
_STATUS = (b"GET /ready", b"HEAD /ready", b"GET /metrics", b"HEAD /metrics")
# Clips and ZIPs are sent for as long as the reader takes (nginx keeps a mebibyte of each), so they
# must not occupy the threads of others.
_FILE = re.compile(rb"(GET|HEAD) /+[^ ?]*/(clips\.zip|parts/[0-9]+)[ ?]")
# More than the tasks service sends at once, so that it can refuse the others.
_FILE_THREADS = 64
# Pictures are drawn one after the other, since each occupies a core: calls wait for their turn.
_PICTURE = re.compile(rb"GET /+[^ ?]*/(preview|contact-sheet)\.jpg[ ?]")
_PICTURE_THREADS = 24
# Uploads: a body arrives as slowly as the client sends it.
# Brands are checked and encoded during the call.
_UPLOAD = re.compile(rb"(PATCH|POST) /+(uploads|brands)[/ ?]")
# More than the uploads and brands together that the tasks service takes at once, so that it can
# answer the next one with 503.
_UPLOAD_THREADS = 84
_PEEKED_BYTES = 256
# gunicorn touches its heartbeat file in each round of its event loop, twice a request, and releases
# the GIL each time. Its master kills a worker only after 30 s without a heartbeat.
_HEARTBEAT_S = 0.5


class StatusFirstWorker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    """Answers `/health`, `/ready` and `/metrics` while every other thread is busy.

    Readers of clips and ZIPs, calls that wait for a picture, and senders of uploads, however slow,
    keep no other call waiting.

    A connection gets a thread once its first bytes have arrived, so an idle one occupies none.
    """

    _is_to_stop = False
    _notified_at = -math.inf

    def init_process(self) -> None:
        self._health_pool = ThreadPoolExecutor(1)
        self._status_pool = ThreadPoolExecutor(2)
        self._file_pool = ThreadPoolExecutor(_FILE_THREADS)
        self._picture_pool = ThreadPoolExecutor(_PICTURE_THREADS)
        self._upload_pool = ThreadPoolExecutor(_UPLOAD_THREADS)
        super().init_process()

    def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ANN401 # gunicorn has no types
        """Stop, unless this is a reload whose new workers do not answer yet: then once they do."""
        self._is_to_stop = True
        if not RELOAD.awaits_successors_of(self.age, self.cfg.workers):
            super().handle_exit(sig, frame)

    def notify(self) -> None:
        """Touch the heartbeat file for gunicorn's master, where due; stop when a stop is due."""
        now = time.monotonic()
        if now - self._notified_at >= _HEARTBEAT_S:
            super().notify()
            self._notified_at = now
        if self._is_to_stop:
            self.handle_exit(signal.SIGTERM, None)

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection, and wait for its first request in the event loop."""
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.nr_conns += 1
        connection = TConn(self.cfg, client, address, listener.getsockname())
        connection.timeout = time.monotonic() + self.cfg.keepalive
        self.pending_conns.append(connection)
        self.poller.register(
            client, EVENT_READ, partial(self.on_pending_socket_readable, connection)
        )

    def enqueue_req(self, conn: Any) -> None:  # noqa: ANN401 # gunicorn has no types
        """Hand a connection with data to a thread of the pool that its request belongs to."""
        pool = self._pool_of(conn)
        future = pool.submit(self.handle, conn)
        future.add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, conn, done)
        )

    def _pool_of(self, conn: Any) -> ThreadPoolExecutor:  # noqa: ANN401 # gunicorn has no types
        try:
            flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
            begin = conn.sock.recv(_PEEKED_BYTES, flags)
        except OSError:  # no data, or closed by the peer: gunicorn handles both
            begin = b""
        if begin.startswith(_HEALTH):
            return self._health_pool
        if begin.startswith(_STATUS):
            return self._status_pool
        if _FILE.match(begin):
            return self._file_pool
        if _PICTURE.match(begin):
            return self._picture_pool
        if _UPLOAD.match(begin):
            return self._upload_pool
        pool: ThreadPoolExecutor = self.tpool
        return pool

    def _cap_keepalive(self, deadline: float) -> None:
        """Close idle connections soon after the order to stop, also those without a request so far.

        gunicorn waits for the latter until the whole `graceful_timeout` has passed.
        """
        super()._cap_keepalive(deadline)
        for connection in self.pending_conns:
            connection.timeout = min(connection.timeout, deadline)
