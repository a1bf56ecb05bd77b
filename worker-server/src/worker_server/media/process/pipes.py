"""What is written to and read from a child process: without blocking, and no more than a bound.

`subprocess.communicate` would keep whatever a child writes, and reap it: until then its process
group can be killed with all that it has started, afterwards the number may be another group's.
"""

import os
import selectors
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Self

MAX_RESPONSE_BYTES = 32 * 1024**2
_READ_BYTES = 65536
_TAIL_BYTES = 2000


class ResponseTooLong(Exception):
    """The child has written more than any response needs."""


class Pipes:
    """Sends a request, and collects the response and the end of standard error; use with `with`."""

    def __init__(self, process: "subprocess.Popen[bytes]", request: bytes) -> None:
        self.response, self.stderr_tail = bytearray(), b""
        self._unsent = memoryview(request)
        self._selector = selectors.DefaultSelector()
        self._ended = os.pidfd_open(process.pid)  # readable once the child has ended
        self._selector.register(self._ended, selectors.EVENT_READ, self._forget)
        self._add(process.stdin, selectors.EVENT_WRITE, self._send)
        self._add(process.stdout, selectors.EVENT_READ, self._read_response)
        self._add(process.stderr, selectors.EVENT_READ, self._read_stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        os.close(self._ended)

    def transfer(self, wait_s: float) -> bool:
        """Read and write what is possible, after waiting for it or for the child's end.

        Return whether there was anything; raise ResponseTooLong.
        """
        ready = self._selector.select(wait_s)
        for key, _ in ready:
            key.data(key.fileobj)
        return bool(ready)

    def _add(self, pipe: IO[bytes] | None, event: int, move: Callable[[IO[bytes]], None]) -> None:
        if pipe is not None:
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, event, move)

    def _forget(self, file: int | IO[bytes]) -> None:
        self._selector.unregister(file)

    def _send(self, pipe: IO[bytes]) -> None:
        with suppress(BrokenPipeError):  # the child has ended: its status says why
            self._unsent = self._unsent[os.write(pipe.fileno(), self._unsent) :]
            if self._unsent:
                return
        self._forget(pipe)
        pipe.close()

    def _read_response(self, pipe: IO[bytes]) -> None:
        self.response += self._read(pipe)
        if len(self.response) > MAX_RESPONSE_BYTES:
            raise ResponseTooLong(f"more than {MAX_RESPONSE_BYTES} bytes on standard output")

    def _read_stderr(self, pipe: IO[bytes]) -> None:
        self.stderr_tail = (self.stderr_tail + self._read(pipe))[-_TAIL_BYTES:]

    def _read(self, pipe: IO[bytes]) -> bytes:
        chunk = os.read(pipe.fileno(), _READ_BYTES)
        if not chunk:
            self._forget(pipe)
        return chunk
