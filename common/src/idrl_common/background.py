"""Threads that work in the background of an app's calls."""

import logging
from collections.abc import Callable
from threading import Thread

_log = logging.getLogger(__name__)


def start_thread(target: Callable[[], None], name: str, *, daemon: bool = True) -> Thread | None:
    """Return a thread that has started; None where this machine has no thread left."""
    thread = Thread(target=target, name=name, daemon=daemon)
    try:
        thread.start()
    except RuntimeError as error:
        _log.warning("thread %s not started: %s", name, error)
        return None
    return thread
