"""gunicorn's threaded worker, with own threads for health checks, for files and for uploads.

It ends on a stop signal; in a reload, as soon as its successors answer.
"""

import math
import re
import signal
import socket
import sys
import time
from functools import partial
from selectors import EVENT_READ
from typing import Any
from urllib.parse import unquote_to_bytes

from gunicorn.workers.gthread import (
    TConn,
    ThreadWorker,
)

from idrl_common.gunicorn_reload import RELOAD
from idrl_common.thread_pool import ThreadPool

_HEALTH = frozenset({b"GET /health", b"HEAD /health"})
_STATUS = frozenset({b"GET /ready", b"HEAD /ready", b"GET /metrics", b"HEAD /metrics"})
# Clips and ZIPs are sent for as long as the reader takes (nginx keeps a mebibyte of each), so they
# must not occupy the threads of others.
_FILE = re.compile(rb"(GET|HEAD) /.*/(clips\.zip|parts/[0-9]+)", re.DOTALL)
# More than the tasks service sends at once, so that it can refuse the others.
_FILE_THREADS = 64
# Pictures are drawn one after the other, since each occupies a core: calls wait for their turn.
_PICTURE = re.compile(rb"(GET|HEAD) /.*/(preview|contact-sheet)\.jpg", re.DOTALL)
_PICTURE_THREADS = 24
# Uploads: a body arrives as slowly as the client sends it.
# Brands are checked and encoded during the call.
_UPLOAD = re.compile(rb"(PATCH|POST) /(uploads|brands)(/.*)?", re.DOTALL)
# More than the uploads and brands together that the tasks service takes at once, so that it can
# answer the next one with 503.
_UPLOAD_THREADS = 84
_PEEKED_BYTES = 8192  # a request line of the length that nginx and gunicorn take
_SLASHES, _BEHIND_PATH = re.compile(rb"/{2,}"), re.compile(rb"[ ?#]")
# gunicorn touches its heartbeat file in each round of its event loop, twice a request, and releases
# the GIL each time. Its master kills a worker only after 30 s without a heartbeat.
_HEARTBEAT_S = 0.5
# After a failure to accept a connection. Callers wait in the socket's backlog meanwhile.
_ACCEPT_PAUSE_S = 0.5
# The master replaces a process that has ended at once.
_RESPAWN_PAUSE_S = 1


class StatusFirstWorker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    """Answers `/health`, `/ready` and `/metrics` while every other thread is busy.

    Readers of clips and ZIPs, calls that wait for a picture, and senders of uploads, however slow,
    keep no other call waiting.

    A connection gets a thread once its first bytes have arrived, so an idle one occupies none.
    """

    _is_to_stop = False
    _notified_at = -math.inf
    _accepts_from = -math.inf

    def init_process(self) -> None:
        """Serve until a stop; calls that are in progress then keep their threads."""
        self._health_pool = ThreadPool(1, "health")
        self._status_pool = ThreadPool(2, "status")
        self._file_pool = ThreadPool(_FILE_THREADS, "files")
        self._picture_pool = ThreadPool(_PICTURE_THREADS, "pictures")
        self._upload_pool = ThreadPool(_UPLOAD_THREADS, "uploads")
        own = [self._health_pool, self._status_pool, self._file_pool]
        try:
            super().init_process()
        finally:
            for pool in (*own, self._picture_pool, self._upload_pool, self.tpool):
                pool.shutdown()

    def get_thread_pool(self) -> ThreadPool:
        """Return the pool of all other calls."""
        return ThreadPool(self.cfg.threads, "calls")

    def load_wsgi(self) -> None:
        """Import the app; after a failure the others answer and another one starts.

        By the exit code of any other failure the master would end the whole service.
        """
        try:
            super().load_wsgi()
        except Exception:
            if not RELOAD.has_any_worker_started():
                raise
            self.log.exception("the app cannot be imported; other processes answer")
            time.sleep(_RESPAWN_PAUSE_S)
            sys.exit(1)

    def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ANN401 # gunicorn has no types
        """Stop, unless this is a reload whose new workers do not answer yet: then once they do."""
        self._is_to_stop = True
        if not RELOAD.is_being_replaced(self.age, self.cfg.workers):
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
        except OSError as error:  # mostly no descriptor or no memory left
            self.log.warning("connections not accepted for a moment: %s", error)
            self._accepts_from = time.monotonic() + _ACCEPT_PAUSE_S
            self.set_accept_enabled(False)
            return
        self.nr_conns += 1
        connection = TConn(self.cfg, client, address, listener.getsockname())
        connection.timeout = time.monotonic() + self.cfg.keepalive
        self.pending_conns.append(connection)
        self.poller.register(
            client, EVENT_READ, partial(self.on_pending_socket_readable, connection)
        )

    def set_accept_enabled(self, enabled: bool) -> None:  # gunicorn's
        """Accept connections or not; not before the pause after a failure has passed."""
        if not enabled or time.monotonic() >= self._accepts_from:
            super().set_accept_enabled(enabled)

    def enqueue_req(self, conn: Any) -> None:  # noqa: ANN401 # gunicorn has no types
        """Hand a connection with data to a thread of the pool that its request belongs to."""
        pool = self._pool_of(conn)
        future = pool.submit(partial(self.handle, conn))
        future.add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, conn, done)
        )

    def _pool_of(self, conn: Any) -> ThreadPool:  # noqa: ANN401 # gunicorn has no types
        try:
            flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
            begin = conn.sock.recv(_PEEKED_BYTES, flags)
        except OSError:  # no data, or closed by the peer: gunicorn handles both
            begin = b""
        call = _call_of(begin)
        if call in _HEALTH:
            return self._health_pool
        if call in _STATUS:
            return self._status_pool
        if _FILE.fullmatch(call):
            return self._file_pool
        if _PICTURE.fullmatch(call):
            return self._picture_pool
        if _UPLOAD.fullmatch(call):
            return self._upload_pool
        pool: ThreadPool = self.tpool
        return pool

    def _cap_keepalive(self, deadline: float) -> None:
        """Close idle connections soon after the order to stop, also those without a request so far.

        gunicorn waits for the latter until the whole `graceful_timeout` has passed.
        """
        super()._cap_keepalive(deadline)
        for connection in self.pending_conns:
            connection.timeout = min(connection.timeout, deadline)


def _call_of(begin: bytes) -> bytes:
    """Return method and path of a request that begins so, the path as the apps route it.

    However it is written: `//tasks/7/clips%2Ezip/?x` is `/tasks/7/clips.zip`.
    """
    method, _, target = begin.partition(b" ")
    path = unquote_to_bytes(_BEHIND_PATH.split(target, maxsplit=1)[0])
    return method + b" " + _SLASHES.sub(b"/", path).rstrip(b"/")
