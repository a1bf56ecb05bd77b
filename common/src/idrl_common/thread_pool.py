"""Threads for calls that come one by one, also on a machine that has no thread left."""

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Lock
from typing import Any

from idrl_common.background import start_thread


class ThreadPool:
    """At most `size` threads, started when they are needed; further calls wait for a free one.

    Where no thread can be started, calls wait for those that there are. ThreadPoolExecutor raises
    then, although it has queued the call, and starts too few threads from then on.
    """

    def __init__(self, size: int, name: str) -> None:
        """Start the first thread, so that no call ever waits without one."""
        self._size, self._name = size, name
        self._lock = Lock()
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._unfinished = self._threads = 0
        self._start_thread()

    def submit(self, call: Callable[[], Any]) -> "Future[Any]":
        """Have a thread make the call."""
        future: Future[Any] = Future()
        with self._lock:
            self._unfinished += 1
            is_short = self._threads < min(self._unfinished, self._size)
        if is_short:
            self._start_thread()
        self._calls.put(lambda: self._make(call, future))
        return future

    def shutdown(self, wait: bool = False) -> None:  # noqa: ARG002 # as gunicorn calls it
        """End each thread after the calls that are there; the process waits for them at its end."""
        for _ in range(self._size):
            self._calls.put(None)

    def _start_thread(self) -> None:
        if start_thread(self._work, self._name, daemon=False):
            with self._lock:
                self._threads += 1

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # not to keep the connection until the next one

    def _make(self, call: Callable[[], Any], future: "Future[Any]") -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 # the future's; the thread must not end
            future.set_exception(error)
        else:
            future.set_result(result)
        finally:
            with self._lock:
                self._unfinished -= 1
