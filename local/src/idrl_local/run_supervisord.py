"""supervisord, which a full disk does not end."""

import sys
from typing import TextIO, cast

from supervisor import supervisord


class _UnfailingStream:
    """A text stream whose errors are ignored.

    supervisord prints there why it could not write a line of a log; where that fails too, as both
    are on one disk, the error ends supervisord.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            return


if __name__ == "__main__":
    sys.stderr = cast("TextIO", _UnfailingStream(sys.stderr))
    supervisord.main()
