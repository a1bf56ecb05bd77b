"""The disk of the logs is full for a while: what runs goes on, and is logged again afterwards."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from idrl_local import config, servers, supervision
from idrl_local.home import Home, Ports, free_ports
from idrl_testing.waiting import wait_until

START = """
mount -t tmpfs -o size=256k tmpfs "$IDRL_HOME/logs" &&
cd "$IDRL_HOME" && exec "$@" > logs/supervisord.out 2>&1
"""


@pytest.fixture
def ports() -> Ports:
    return free_ports()


@pytest.fixture
def home(tmp_path: Path, ports: Ports) -> Iterator[Home]:
    """A home whose supervisord runs nothing yet, with logs on a small disk of its own."""
    home = Home(tmp_path / "home")
    home.create()
    home.secrets()
    config.write_supervisord(home)
    own = {"IDRL_HOME": str(home.root), "PORT": str(ports.nginx)}
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    command = [sys.executable, "-m", "idrl_local", "exec", supervision.SUPERVISORD]
    with subprocess.Popen(
        [*unshare, "sh", "-c", START, "sh", *command],
        env={**os.environ, **own, config.PYTHON: sys.executable},
        start_new_session=True,
    ):
        try:
            wait_until(lambda: answers(home))
            yield home
        finally:
            supervision.stop(home)


def answers(home: Home) -> bool:
    if not supervision.is_running(home):
        return False
    try:
        supervision.program_states(home)
    except supervision.NoAnswer:
        return False
    return True


def fill(folder: Path) -> Path:
    """Leave no byte in a file system and in its files' last blocks; return what took them."""
    rest = folder / "rest"
    for path in (rest, *folder.iterdir()):
        with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"\n" * 256):
                pass
        with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"\n"):
                pass
    return rest


def test_full_disk_ends_neither_supervisord_nor_logging(home: Home, ports: Ports) -> None:
    logs = Path(f"/proc/{home.lock(supervision.SUPERVISORD).pid}/root{home.logs}")
    rest = fill(logs)
    supervision.start_programs(home, ["redis"])
    wait_until(lambda: servers.port_answers(ports.redis))
    assert answers(home)
    assert (logs / "redis.log").stat().st_size == 0
    pid = home.lock("redis").pid
    rest.unlink()
    client = redis.Redis(port=ports.redis, password=home.secrets().redis_password)
    client.bgrewriteaof()  # type: ignore[no-untyped-call] # redis gives it no types
    wait_until(lambda: "append only file" in (logs / "redis.log").read_text())
    assert home.lock("redis").pid == pid
