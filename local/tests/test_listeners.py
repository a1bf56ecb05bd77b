"""The sockets that supervisord hands on: each program gets its own, and calls wait meanwhile."""

import os
import subprocess
import sys

import pytest
import requests

from idrl_local import listeners, servers
from idrl_local.home import free_ports
from idrl_local.programs import is_passed_on

KEPT = """
import os, sys
from idrl_local import listeners

listeners.close_others(sys.argv[1], os.environ)
print(*(fd for fd in sorted(map(int, os.listdir("/proc/self/fd"))) if fd >= listeners.MIN_FD))
print(listeners.bind_address("web", 1, os.environ), listeners.bind_address("tasks", 2, {}))
"""

LIMITED = """
import resource, sys
from idrl_local import home, listeners

resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
try:
    listeners.allow_open_files()
except home.HomeUnusable as error:
    sys.exit(str(error))
with listeners.opened(home.free_ports()):
    print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "printed"),
    [
        (200, 200, "this session may have 200 open files (ulimit -n), and the start needs 320"),
        (200, 700, "700 700"),
        (256, 4096, "1024 4096"),
        (2048, 4096, "2048 4096"),
    ],
)
def test_low_limit_of_open_files_is_raised_or_named(soft: int, hard: int, printed: str) -> None:
    """`make up` ended with a traceback: the sockets' descriptors are above 256."""
    command = [sys.executable, "-c", LIMITED, str(soft), str(hard)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (line,) = (done.stdout + done.stderr).splitlines()
    assert line.startswith(printed)


@pytest.mark.parametrize("name", ["web", "tasks", "nginx"])
def test_a_program_keeps_its_own_socket_alone(name: str) -> None:
    with listeners.opened(free_ports()) as descriptors:
        environment = {**os.environ, **listeners.variable(descriptors)}
        completed = subprocess.run(
            [sys.executable, "-c", KEPT, name],
            env=environment,
            pass_fds=list(descriptors.values()),
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()
    assert completed[0].split() == [str(fd) for owner, fd in descriptors.items() if owner == name]
    assert completed[1] == f"fd://{descriptors['web']} 127.0.0.1:2"
    assert not any(map(is_passed_on, listeners.variable(descriptors)))


def test_calls_wait_until_the_sockets_are_closed() -> None:
    ports = free_ports()
    with listeners.opened(ports), pytest.raises(requests.ReadTimeout):
        requests.get(f"http://127.0.0.1:{ports.web}/", timeout=0.5)
    assert not servers.port_answers(ports.web)
    ports.check_free()
