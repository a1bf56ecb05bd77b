"""The threads of a service: which calls keep which others waiting."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from idrl_common.gunicorn_conf import threads
from idrl_testing.waiting import wait_until

# Holds each call of a file until the pipe in the environment is closed.
APP = """
import os, pathlib, time

while pathlib.Path("imports_wait").exists():
    time.sleep(0.05)

def application(environ, start_response):
    if environ["PATH_INFO"].endswith((".zip", "/parts/0", ".jpg")):
        pathlib.Path(environ["PATH_INFO"].split("/")[2]).touch()
        os.read(int(os.environ["HOLD"]), 1)
    if environ["PATH_INFO"] == "/pid":
        start_response("200 OK", [])
        return [str(os.getpid()).encode()]
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@dataclass(frozen=True)
class Service:
    """A service of one process, in whose folder each file's call leaves a file."""

    port: int
    master: int


@pytest.fixture
def port(service: Service) -> int:
    return service.port


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    (tmp_path / "held.py").write_text(APP)
    hold, release = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "gunicorn", "--config", "python:idrl_common.gunicorn_conf"]
        command += ["--bind", f"fd://{listener.fileno()}", "--chdir", str(tmp_path), "held"]
        descriptors = (hold, listener.fileno())
        environment = {**os.environ, "HOLD": str(hold), "PYTHONPATH": str(tmp_path)}
        with subprocess.Popen(command, env=environment, pass_fds=descriptors) as service:
            yield Service(listener.getsockname()[1], service.pid)
            os.close(release)
            service.terminate()
    os.close(hold)


def call(port: int, path: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    return connection


@pytest.mark.parametrize("file", ["clips.zip", "parts/0", "contact-sheet.jpg"])
def test_readers_of_files_keep_no_other_call_waiting(port: int, tmp_path: Path, file: str) -> None:
    with ExitStack() as stack:
        for number in range(threads + 1):
            stack.callback(call(port, f"/tasks/{number}/{file}").close)
        while len(list(tmp_path.glob("[0-9]"))) < threads + 1:
            other = call(port, "/tasks")
            assert other.getresponse().read() == b"ok"
            other.close()
        other = call(port, "/tasks")
        assert other.getresponse().status == 200
        other.close()


def pid_of_answer(port: int) -> int:
    with closing(call(port, "/pid")) as connection:
        return int(connection.getresponse().read())


def test_old_process_answers_until_the_new_one_does(service: Service, tmp_path: Path) -> None:
    old = pid_of_answer(service.port)
    imports_wait = tmp_path / "imports_wait"
    imports_wait.touch()
    os.kill(service.master, signal.SIGHUP)
    children = Path(f"/proc/{service.master}/task/{service.master}/children")
    wait_until(lambda: len(children.read_text().split()) == 2)
    began = time.monotonic()
    while time.monotonic() < began + 3:  # the master tells the old one to stop at once
        assert pid_of_answer(service.port) == old
    imports_wait.unlink()
    wait_until(lambda: str(old) not in children.read_text().split())
    assert pid_of_answer(service.port) != old
