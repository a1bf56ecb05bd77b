"""Commands while supervisord is starting or stopping: it is there, and does not answer."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from idrl_local.home import Home, free_ports
from idrl_local.pidlocks import PidLock
from idrl_testing.waiting import wait_until

HOLD = """
import sys, time
from pathlib import Path
from idrl_local.pidlocks import PidLock

PidLock(Path(sys.argv[1])).acquire()
time.sleep(60)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home in which a process holds supervisord's lock, and nothing listens at its socket."""
    home = Home(tmp_path / "home")
    home.create()
    home.secrets()
    (home.run / "port").write_text(str(free_ports().nginx))
    lock = home.lock("supervisord")
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock.path)]) as process:
        wait_until(lock.is_locked)
        yield home
        process.kill()


def idrl(home: Home, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "idrl_local", *arguments],
        env={**os.environ, "IDRL_HOME": str(home.root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_status_reports_an_unresponsive_supervisord(home: Home) -> None:
    done = idrl(home, "status")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("  supervisord: does not answer: it is starting")


@pytest.mark.parametrize("command", ["reload", "restart"])
def test_reload_and_restart_report_an_unresponsive_supervisord(home: Home, command: str) -> None:
    done = idrl(home, command, "web")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("supervisord: does not answer: it is starting or stopping")


@pytest.mark.parametrize("program", ["supervisord", "nginx"])
def test_down_stops_processes_of_the_first_release(tmp_path: Path, program: str) -> None:
    """0.1.0 names its locked pid files otherwise; `git pull` before `make down` is natural."""
    home = Home(tmp_path / "home")
    home.create()
    path = home.run / f"{program}.mark"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], start_new_session=True
    ) as process:
        wait_until(PidLock(path).is_locked)
        done = idrl(home, "down")
        is_alive = process.poll() is None
        process.kill()
    assert (done.returncode, done.stderr) == (0, "")
    assert not is_alive
