"""Answers of untrusted servers up to the end of their headers, as RFC 9110 and 9112 have them.

http.client takes the end of the connection for the end of the headers, any text that `int` takes
for a status, and an interim answer other than 100 for the final one.
"""

import re
from http.client import BadStatusLine, HTTPResponse, RemoteDisconnected
from typing import Any

_STATUS_LINE = re.compile(rb"HTTP/[0-9]+\.[0-9]+[ \t]+[1-9][0-9]{2}([ \t].*)?\r?\n", re.DOTALL)
_INTERIM = re.compile(rb"[^ \t]+[ \t]+1(0[02-9]|[1-9][0-9])[ \t\r\n]")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n"  # http.client skips this one


class StrictResponse(HTTPResponse):
    """Raises HTTPException where the headers do not end, or the status line is invalid."""

    fp: Any  # set to None by http.client where it closes the connection
    chunked: bool
    chunk_left: int | None
    length: int | None

    def begin(self) -> None:
        """Read the final answer's status and headers."""
        if self.fp is None or self.headers is not None:
            super().begin()
            return
        stream = self.fp
        self.fp = _HeaderLines(stream)
        try:
            super().begin()
        finally:
            if self.fp is not None:
                self.fp = stream
        self._find_framing()

    def _find_framing(self) -> None:
        """Read chunks wherever the last transfer coding says so.

        http.client does only where it is the header's single word; else their sizes would be in the
        file.
        """
        values = self.headers.get_all("Transfer-Encoding", [])
        codings = [coding.strip().lower() for value in values for coding in value.split(",")]
        if codings and codings[-1] == "chunked" and not self.chunked:
            self.chunked, self.chunk_left, self.length = True, None, None


class _HeaderLines:
    """Lines of a stream, each of them checked."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 # http.client's own
        self._stream = stream
        self._is_status_line = True

    def readline(self, limit: int = -1) -> bytes:
        """Return the next line; raise HTTPException."""
        line: bytes = self._stream.readline(limit)
        if not line.endswith(b"\n") and len(line) != limit:
            raise RemoteDisconnected("the connection ended within the headers")
        if self._is_status_line:
            line = _checked_status(line)
        is_end = line in (b"\r\n", b"\n")  # after an interim answer another status line follows
        self._is_status_line = is_end
        return line

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()


def _checked_status(line: bytes) -> bytes:
    if _STATUS_LINE.fullmatch(line) is None:
        raise BadStatusLine("")
    return _CONTINUE if _INTERIM.match(line) else line
