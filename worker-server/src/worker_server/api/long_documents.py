"""Bounds how many long documents are in progress: 16 of 20,000 parts would fill all memory.

Each takes a fraction of a second of processor time as well, so one account may wait for few.
"""

import threading
from typing import Any

from flask import Flask, g, has_request_context

from idrl_common.access import caller
from idrl_common.problems import Problem
from worker_server.api.slots import slots_for
from worker_server.db import PreparedQuery, fetch_text, parsed_json

# Characters of JSON, of as many parts.
_LONG, _LONG_PARTS = 512 * 1024, 1500
# A parsed body may take 27 times its bytes until it is answered: 16 of these take 110 MB.
_LONG_BODY_BYTES = 256 * 1024
_MAX_PARALLEL = 3
# Waiting calls included, which keep a thread each: half of all (16), and half of these.
_MAX_CALLS, _MAX_CALLS_PER_ACCOUNT = 8, 4
# A call is answered within 15 s.
_WAIT_S = 8.0
_MAX_REMEMBERED = 4096
_memory = threading.BoundedSemaphore(_MAX_PARALLEL)
_calls = slots_for("long documents", _MAX_CALLS, _MAX_CALLS_PER_ACCOUNT)
# The values of queries that have returned one: the next such call has its turn before its query.
_remembered: set[frozenset[str]] = set()


def install(app: Flask) -> None:
    """Free the memory of a long document once its request is answered."""
    app.teardown_request(_free)


def fetch_json(query: PreparedQuery, *values: object) -> Any:  # noqa: ANN401 # JSON has no types
    """As `db.fetch_json`; a long document waits until others have been answered.

    Raise a 503 Problem where that takes too long, or a 429 Problem where the caller waits for too
    many.
    """
    key = frozenset(map(str, values))
    if key in _remembered:
        _wait_for_memory()
    text = fetch_text(query, *values)
    is_long = text is not None and len(text) > _LONG
    _remember(key, is_long=is_long)
    if is_long:
        _wait_for_memory()
    return parsed_json(text)


def await_memory(parts: int) -> None:
    """Where a document of so many parts is long, wait as `fetch_json` does, before it is read.

    For a change, which must not be refused once it is made.
    """
    if parts > _LONG_PARTS:
        _wait_for_memory()


def await_memory_of_body(size_bytes: int) -> None:
    """Where a JSON body of so many bytes is long, wait as `fetch_json` does, before parsing it."""
    if size_bytes > _LONG_BODY_BYTES:
        _wait_for_memory()


def _remember(key: frozenset[str], *, is_long: bool) -> None:
    if is_long and len(_remembered) >= _MAX_REMEMBERED:
        _remembered.clear()
    (_remembered.add if is_long else _remembered.discard)(key)


def _wait_for_memory() -> None:
    if not has_request_context() or g.get("free_long_document"):
        return
    free_call = _calls.acquire(caller().user_id)
    if not _memory.acquire(timeout=_WAIT_S):
        free_call()
        raise Problem(503, "too_busy", "Too many long documents are in progress at the moment.")
    g.free_long_document = free_call


def _free(_: BaseException | None) -> None:
    if free_call := g.pop("free_long_document", None):
        _memory.release()
        free_call()
