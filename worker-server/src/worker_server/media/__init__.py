"""Media: what a source is, how it is cut into parts, and the renderers that make the clips."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker_server.media.exports import *  # noqa: F403 # as `__getattr__`


def __getattr__(name: str) -> object:
    """Return a name of `exports`, whose modules are all imported at the first use of any name.

    A child process runs one module of this package, and starts faster without the others.
    """
    if name.startswith("_"):
        raise AttributeError(name)
    return getattr(import_module("worker_server.media.exports"), name)
