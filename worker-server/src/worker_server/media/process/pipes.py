"""What is written to and read from a child process, without blocking.

`subprocess.communicate` would keep whatever a child writes, and reap it: until then its process
group can be killed with all that it has started, afterwards the number may be another group's.
"""

import os
import selectors
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Self

_READ_BYTES = 65536
_TAIL_BYTES = 4096


class Pipes:
    """Sends a request, and passes what the child writes to `receive`; use with `with`.

    `stderr_tail` is the end of its standard error.
    """

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        receive: Callable[[bytes], object],
        request: bytes = b"",
    ) -> None:
        self.has_ended = False  # the child; it is not reaped
        self.stderr_tail = b""
        self._unsent = memoryview(request)
        self._selector = selectors.DefaultSelector()
        self._ended = os.pidfd_open(process.pid)  # readable once the child has ended
        self._selector.register(self._ended, selectors.EVENT_READ, self._note_end)
        self._add(process.stdin, selectors.EVENT_WRITE, self._send)
        self._add(process.stdout, selectors.EVENT_READ, lambda pipe: receive(self._read(pipe)))
        self._add(process.stderr, selectors.EVENT_READ, self._read_stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        os.close(self._ended)

    def transfer(self, seconds: float) -> None:
        """Read and write until the time is up or the child has ended; raise what `receive` does."""
        until = time.monotonic() + seconds
        while not self.has_ended and (left_s := until - time.monotonic()) > 0:
            self._transfer(left_s)

    def drain(self) -> None:
        """Read what is there now, as after the child's end."""
        while self._transfer(0):
            continue

    def _transfer(self, wait_s: float) -> bool:
        ready = self._selector.select(wait_s)
        for key, _ in ready:
            key.data(key.fileobj)
        return bool(ready)

    def _add(self, pipe: IO[bytes] | None, event: int, move: Callable[[IO[bytes]], object]) -> None:
        if pipe is not None:
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, event, move)

    def _forget(self, file: int | IO[bytes]) -> None:
        self._selector.unregister(file)

    def _note_end(self, descriptor: int) -> None:
        self.has_ended = True
        self._forget(descriptor)

    def _send(self, pipe: IO[bytes]) -> None:
        with suppress(BrokenPipeError):  # the child has ended: its status says why
            self._unsent = self._unsent[os.write(pipe.fileno(), self._unsent) :]
            if self._unsent:
                return
        self._forget(pipe)
        pipe.close()

    def _read_stderr(self, pipe: IO[bytes]) -> None:
        self.stderr_tail = (self.stderr_tail + self._read(pipe))[-_TAIL_BYTES:]

    def _read(self, pipe: IO[bytes]) -> bytes:
        chunk = os.read(pipe.fileno(), _READ_BYTES)
        if not chunk:
            self._forget(pipe)
        return chunk
