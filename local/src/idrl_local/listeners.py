"""The listening sockets of web and tasks, which supervisord inherits and hands on.

They stay open while a service restarts: its callers wait in the kernel's queue until the new
processes accept, where a socket of the service's own would refuse them.
"""

import fcntl
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from idrl_local.home import Ports

# supervisord closes the descriptors below its `minfds` in each program that it starts. Its own, a
# few for each program, stay below.
MIN_FD = 256
_VARIABLE = "IDRL_LISTENERS"
# gunicorn's default. The kernel may allow less (net.core.somaxconn).
_BACKLOG = 2048


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
