"""The listening sockets of web and tasks, which supervisord inherits and hands on.

They stay open while a service restarts: its callers wait in the kernel's queue until the new
processes accept, where a socket of the service's own would refuse them.
"""

import fcntl
import os
import resource
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from idrl_local.home import HomeUnusable, Ports

# supervisord closes the descriptors below its `minfds` in each program that it starts. Its own, a
# few for each program, stay below.
MIN_FD = 256
_VARIABLE = "IDRL_LISTENERS"
# Linux's default; and what is left for a program's own files above the sockets.
_OPEN_FILES = 1024
_OPEN_FILES_NEEDED = MIN_FD + 64
# gunicorn's default. The kernel may allow less (net.core.somaxconn).
_BACKLOG = 2048


def allow_open_files() -> None:
    """Raise this process's limit of open files to Linux's default where it is lower.

    Raises HomeUnusable where the hard limit allows too few for the sockets.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if allowed < _OPEN_FILES_NEEDED:
        raise HomeUnusable(
            f"this session may have {hard} open files (ulimit -n), and the start needs"
            f" {_OPEN_FILES_NEEDED}: raise the limit"
        )
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


@contextmanager
def opened(ports: Ports) -> Iterator[dict[str, int]]:
    """Listen for web and tasks; yield the descriptors, closed in this process afterwards."""
    with ExitStack() as stack:
        yield {
            name: _listen(port, stack)
            for name, port in (("web", ports.web), ("tasks", ports.tasks))
        }


def _listen(port: int, stack: ExitStack) -> int:
    with socket.create_server(("127.0.0.1", port), backlog=_BACKLOG) as listener:
        descriptor = fcntl.fcntl(listener, fcntl.F_DUPFD_CLOEXEC, MIN_FD)
    stack.callback(os.close, descriptor)
    return descriptor


def variable(descriptors: Mapping[str, int]) -> dict[str, str]:
    """Return the environment variable with the descriptor of each program's socket."""
    pairs = (f"{name}={descriptor}" for name, descriptor in descriptors.items())
    return {_VARIABLE: " ".join(pairs)}


def close_others(name: str, environment: Mapping[str, str]) -> None:
    """Close the inherited sockets that are not this program's: open, they would take its calls."""
    for owner, descriptor in _descriptors(environment).items():
        if owner != name:
            os.close(descriptor)


def bind_address(name: str, port: int, environment: Mapping[str, str]) -> str:
    """Return where gunicorn listens: at the inherited socket, or at the port where none is."""
    descriptor = _descriptors(environment).get(name)
    return f"127.0.0.1:{port}" if descriptor is None else f"fd://{descriptor}"


def _descriptors(environment: Mapping[str, str]) -> dict[str, int]:
    pairs = (pair.split("=") for pair in environment.get(_VARIABLE, "").split())
    return {name: int(descriptor) for name, descriptor in pairs}
