"""The threads of a service: which calls keep which others waiting."""

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from idrl_common.gunicorn_conf import threads

# Holds each call of a ZIP until the pipe in the environment is closed.
APP = """
import os, pathlib

def application(environ, start_response):
    if environ["PATH_INFO"].endswith(".zip"):
        pathlib.Path(environ["PATH_INFO"].split("/")[2]).touch()
        os.read(int(os.environ["HOLD"]), 1)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A service of one process, on this port, in whose folder each ZIP's call leaves a file."""
    (tmp_path / "held.py").write_text(APP)
    hold, release = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "gunicorn", "--config", "python:idrl_common.gunicorn_conf"]
        command += ["--bind", f"fd://{listener.fileno()}", "--chdir", str(tmp_path), "held"]
        descriptors = (hold, listener.fileno())
        environment = {**os.environ, "HOLD": str(hold), "PYTHONPATH": str(tmp_path)}
        with subprocess.Popen(command, env=environment, pass_fds=descriptors) as service:
            yield listener.getsockname()[1]
            os.close(release)
            service.terminate()
    os.close(hold)


def call(port: int, path: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    return connection


def test_readers_of_zips_keep_no_other_call_waiting(port: int, tmp_path: Path) -> None:
    with ExitStack() as stack:
        for number in range(threads + 1):
            stack.callback(call(port, f"/tasks/{number}/clips.zip").close)
        while len(list(tmp_path.glob("[0-9]"))) < threads + 1:
            other = call(port, "/tasks")
            assert other.getresponse().read() == b"ok"
            other.close()
        other = call(port, "/tasks")
        assert other.getresponse().status == 200
        other.close()
