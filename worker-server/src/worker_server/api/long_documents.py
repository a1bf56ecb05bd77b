"""Bounds how many long documents are in memory at once: 16 of 20,000 parts would fill all of it."""

import threading
from typing import Any

from flask import Flask, g, has_request_context

from idrl_common.problems import Problem
from worker_server.db import PreparedQuery, fetch_text, parsed_json

# Characters of JSON, of as many parts.
_LONG, _LONG_PARTS = 512 * 1024, 1500
_MAX_PARALLEL = 3
# A call is answered within 15 s.
_WAIT_S = 8.0
_memory = threading.BoundedSemaphore(_MAX_PARALLEL)


def install(app: Flask) -> None:
    """Free the memory of a long document once its request is answered."""
    app.teardown_request(_free)


def fetch_json(query: PreparedQuery, *values: object) -> Any:  # noqa: ANN401 # JSON has no types
    """As `db.fetch_json`; a long document waits until others have been answered.

    Raise a 503 Problem where that takes too long.
    """
    text = fetch_text(query, *values)
    if text and len(text) > _LONG and has_request_context():
        _wait_for_memory()
    return parsed_json(text)


def await_memory(parts: int) -> None:
    """Where a document of so many parts is long, wait as `fetch_json` does, before it is read.

    For a change, which must not be refused once it is made.
    """
    if parts > _LONG_PARTS and has_request_context():
        _wait_for_memory()


def _wait_for_memory() -> None:
    if g.get("has_long_document"):
        return
    if not _memory.acquire(timeout=_WAIT_S):
        raise Problem(503, "too_busy", "Too many long documents are being read at the moment.")
    g.has_long_document = True


def _free(_: BaseException | None) -> None:
    if g.pop("has_long_document", False):
        _memory.release()
