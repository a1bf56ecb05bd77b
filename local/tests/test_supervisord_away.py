"""Commands while supervisord is starting or stopping: it is there, and does not answer."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from locks_testing import lock_holder

from idrl_local.home import Home, free_ports
from idrl_testing.waiting import LIMIT_S


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home in which a process holds supervisord's lock, and nothing listens at its socket."""
    home = Home(tmp_path / "home")
    home.create()
    home.secrets()
    (home.run / "port").write_text(str(free_ports().nginx))
    with lock_holder(home.lock("supervisord").path):
        yield home


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
    with lock_holder(path) as process:
        done = idrl(home, "down")
        assert (done.returncode, done.stderr) == (0, "")
        assert process.wait(LIMIT_S) < 0  # by a signal
