"""`make restart`: a service keeps running where it could not start again with what is set now."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from supervisor.states import ProcessStates

from idrl_local import supervision
from idrl_local.home import Home, Ports, free_ports
from idrl_testing.waiting import wait_until

START = """
import os, pathlib, sys
from idrl_local import home, supervision
root = home.Home(pathlib.Path(sys.argv[1]))
supervision.start(root, home.Ports.starting_at(int(os.environ["PORT"])), os.environ)
supervision.start_programs(root, ["web", "tasks"])
"""

DAMAGED_KEY = "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n"


@pytest.fixture(scope="module")
def ports() -> Ports:
    return free_ports()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, ports: Ports) -> Iterator[Home]:
    """A supervisord that runs web and tasks, without stores."""
    home = Home(tmp_path_factory.mktemp("home") / "idrl")
    home.create()
    home.secrets()
    (home.run / "port").write_text(str(ports.nginx))
    try:
        # In a process of its own: supervisord outlives it, as it outlives `make up`.
        environment = {**os.environ, "PORT": str(ports.nginx)}
        subprocess.run([sys.executable, "-c", START, str(home.root)], env=environment, check=True)
        yield home
    finally:
        supervision.stop(home)


@pytest.fixture
def home(running: Home, ports: Ports) -> Iterator[Home]:
    """The same, with its secrets as they were before and after each test."""
    good = running.secrets_file.read_text()
    wait_until(lambda: answers(ports, "web") and answers(ports, "tasks"))
    yield running
    running.secrets_file.write_text(good)


def answers(ports: Ports, service: str) -> bool:
    with contextlib.suppress(requests.RequestException):
        url = f"http://127.0.0.1:{getattr(ports, service)}/health"
        return requests.get(url, timeout=5).status_code == 200
    return False


def restart(home: Home, service: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "idrl_local", "restart", service],
        env={**os.environ, "IDRL_HOME": str(home.root), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def other_private_key() -> str:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def set_secret(home: Home, name: str, value: str) -> None:
    """Replace one secret in the file, as an operator would by hand."""
    values = {**vars(home.secrets()), name.lower(): value}
    lines = (f'{each.upper()}="{text}"\n' for each, text in values.items())
    home.secrets_file.write_text("".join(lines))


@pytest.mark.parametrize(
    ("service", "name", "value", "reason"),
    [
        ("tasks", "JWT_PUBLIC_KEY", "-----BEGIN PUBLIC KEY-----\nMCow", "JWT_PUBLIC_KEY must hold"),
        ("web", "JWT_PUBLIC_KEY", DAMAGED_KEY, "JWT_PUBLIC_KEY must hold"),
        ("web", "JWT_PRIVATE_KEY", "a truncated key", "JWT_PRIVATE_KEY must hold"),
        ("web", "JWT_PRIVATE_KEY", other_private_key(), "JWT_PUBLIC_KEY"),
        ("tasks", "REDIS_PASSWORD", "", "does not set REDIS_PASSWORD"),
    ],
    ids=[
        "truncated public key",
        "damaged public key",
        "no private key",
        "key of another pair",
        "missing password",
    ],
)
def test_service_that_could_not_start_again_is_kept(
    home: Home, ports: Ports, service: str, name: str, value: str, reason: str
) -> None:
    pid = home.lock(service).pid
    set_secret(home, name, value)
    done = restart(home, service)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert reason in line
    assert home.lock(service).pid == pid
    assert answers(ports, service)


@pytest.mark.parametrize("service", ["web", "tasks"])
def test_metrics_outlive_a_refused_restart(home: Home, service: str) -> None:
    """The folder belongs to the processes that run."""
    folder = home.run / f"metrics-{service}"
    before = sorted(folder.iterdir())
    assert before
    set_secret(home, "JWT_PUBLIC_KEY", "no key")
    assert restart(home, service).returncode == 1
    assert sorted(folder.iterdir()) == before


def test_settings_of_the_caller_are_not_those_of_the_service(home: Home, ports: Ports) -> None:
    """The service is started again with the settings of `make up`."""
    pid = home.lock("tasks").pid
    done = restart(home, "tasks", RENDER_CRF="99", POSTGRES_PORT="none")
    assert (done.returncode, done.stderr) == (0, "")
    wait_until(lambda: answers(ports, "tasks"))
    assert home.lock("tasks").pid != pid


def test_service_that_ends_at_each_start_is_started_with_mended_settings(
    home: Home, ports: Ports
) -> None:
    """supervisord then waits longer and longer between two starts."""
    good = home.secrets_file.read_text()
    set_secret(home, "JWT_PUBLIC_KEY", "")
    supervision.stop_programs(home, ["tasks"])
    supervision.start_programs(home, ["tasks"])
    wait_until(lambda: supervision.program_states(home)["tasks"].number == ProcessStates.BACKOFF)
    home.secrets_file.write_text(good)
    done = restart(home, "tasks")
    assert (done.returncode, done.stderr) == (0, "")
    wait_until(lambda: answers(ports, "tasks"))
