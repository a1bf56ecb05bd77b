"""Any one process of the system that is stopped or killed shows within 30 s, wherever one looks."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

import pytest
import requests

from idrl_local import settings_check, status, supervision, system
from idrl_local.home import Home, free_ports
from idrl_local.programs import PROGRAMS, Installation
from idrl_testing.processes import child_pids
from idrl_testing.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PROCESSES = [*(program.name for program in PROGRAMS), supervision.SUPERVISORD]
SHOWN_WITHIN_S = 30


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A system whose processes the tests stop and kill in turn."""
    home = Home(tmp_path_factory.mktemp("home") / "idrl")
    ports = free_ports()
    own = {"IDRL_HOME": str(home.root), "PORT": str(ports.nginx), "RENDER_CONCURRENCY": "1"}
    command = [sys.executable, "-m", "idrl_local", "up"]
    try:
        subprocess.run(command, env={**os.environ, **own}, check=True, capture_output=True)
        settings = settings_check.stored_settings(home)
        running = Installation(home, ports, home.secrets(), settings)
        wait_until(lambda: is_everything_ready(running))
        yield running
    finally:
        system.down(home)


def urls(installation: Installation) -> dict[str, str]:
    return {"web": installation.web_url, "tasks": f"http://127.0.0.1:{installation.ports.tasks}"}


def is_everything_ready(installation: Installation) -> bool:
    try:
        answers = [requests.get(f"{url}/ready", timeout=10) for url in urls(installation).values()]
    except requests.RequestException:
        return False
    return all(answer.json()["status"] == "ready" for answer in answers)


def samples(url: str, metric: str) -> dict[str, float]:
    """Return the values of a metric by its only label."""
    text = requests.get(f"{url}/metrics", timeout=10).text
    samples = re.findall(rf'^{metric}{{\w+="(\w+)"}} (\S+)$', text, re.MULTILINE)
    return {label: float(value) for label, value in samples}


def assert_shown(installation: Installation, name: str) -> None:
    """Wait until every other app's `/ready` and `/metrics`, and `make status`, show it."""
    begun = time.monotonic()
    for app, url in urls(installation).items():
        if app != name:
            wait_until(partial(_is_reported_down, url, name), SHOWN_WITHIN_S)
    lines = list(status.lines(installation.home))
    assert [line for line in lines if name in line and "STOPPED" in line], lines
    assert time.monotonic() - begun < SHOWN_WITHIN_S


def _is_reported_down(url: str, name: str) -> bool:
    try:
        ready = requests.get(f"{url}/ready", timeout=10).json()
        up = samples(url, "idrl_process_up")
    except requests.RequestException:
        return False
    is_reported = ready["checks"]["processes"] == {"ok": False, "detail": "ProcessDown"}
    others_are_up = all(value for process, value in up.items() if process != name)
    return is_reported and ready["status"] != "ready" and up[name] == 0 and others_are_up


@pytest.mark.parametrize("name", PROCESSES)
def test_stopped_process_is_shown(installation: Installation, name: str) -> None:
    pid = installation.home.lock(name).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        assert_shown(installation, name)
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: is_everything_ready(installation))


def test_hanging_database_holds_up_neither_readiness_nor_metrics(
    installation: Installation,
) -> None:
    """All of PostgreSQL's processes, as a paused container's: queries on open connections hang."""
    lock = installation.home.lock("postgres")
    lock.signal_group(signal.SIGSTOP)
    for pid in child_pids(lock.pid):
        os.kill(pid, signal.SIGSTOP)
    try:
        for url in urls(installation).values():
            assert requests.get(f"{url}/ready", timeout=10).status_code == 503
            assert samples(url, "idrl_check_ok")["database"] == 0
            assert samples(url, "idrl_process_up")["postgres"] == 0
    finally:
        for pid in [*child_pids(lock.pid), lock.pid]:
            os.kill(pid, signal.SIGCONT)
    wait_until(lambda: is_everything_ready(installation))


@pytest.mark.parametrize("name", [program.name for program in PROGRAMS])
def test_killed_process_is_shown_with_its_restart(installation: Installation, name: str) -> None:
    url = next(url for app, url in urls(installation).items() if app != name)
    wait_until(lambda: start_of(url, name))
    before = start_of(url, name)
    os.kill(installation.home.lock(name).pid, signal.SIGKILL)
    wait_until(lambda: start_of(url, name) not in (0, before), SHOWN_WITHIN_S)


def start_of(url: str, name: str) -> float:
    """Return when the process started; 0 while it, or the app that is asked, is down."""
    try:
        return samples(url, "idrl_process_start_time_seconds").get(name, 0)
    except requests.RequestException:
        return 0
