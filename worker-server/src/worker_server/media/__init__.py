"""The clip: what a source is, how it is cut, and the renderers that make the parts."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker_server.media.exports import *  # noqa: F403


def __getattr__(name: str) -> object:
    """Return an export, loading all of them at the first one.

    Each child process runs one module of this package, and starts faster without the others.
    """
    if name.startswith("_"):
        raise AttributeError(name)
    return getattr(import_module("worker_server.media.exports"), name)
