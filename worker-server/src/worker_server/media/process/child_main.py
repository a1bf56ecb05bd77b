"""The other side of `Child`: what a child module does with the request on its standard input."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from worker_server.media.process import guard


def serve_one_request(reply: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Read the request, give up all files but its own, write the answer, and exit at once.

    Exits without the interpreter's shutdown, which would free everything piece by piece.
    """
    message = sys.stdin.buffer.read()
    if message:  # empty: the parent closed the pipe without a request
        request = json.loads(message)
        guard.restrict_files(request["files"])
        sys.stdout.write(json.dumps(reply(request["payload"])))
        sys.stdout.flush()
    os._exit(0)
