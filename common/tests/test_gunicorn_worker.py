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
from idrl_testing.processes import child_pids
from idrl_testing.waiting import LIMIT_S, wait_until

# Holds each call of a file until the pipe in the environment is closed.
APP = """
import os, pathlib, re, resource, threading, time

while pathlib.Path("imports_wait").exists():
    time.sleep(0.05)
if pathlib.Path("import_fails").exists():
    raise ValueError
if pathlib.Path("import_exits").exists():
    import no_such_module

start_thread = threading._start_new_thread

def refuse_thread(*_):
    raise RuntimeError("can't start new thread")

def change_limits(path):
    if path == "/no-more-files":
        used = len(os.listdir("/proc/self/fd")) - 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, 512))
    if path == "/more-files":
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
    if path == "/no-more-threads":
        threading._start_new_thread = refuse_thread

def application(environ, start_response):
    change_limits(environ["PATH_INFO"])
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.5)
    path = re.sub("/+", "/", environ["PATH_INFO"]).rstrip("/")
    if path.endswith((".zip", "/parts/0", ".jpg")):
        pathlib.Path(path.split("/")[2]).touch()
        os.read(int(os.environ["HOLD"]), 1)
    pid = str(os.getpid()).encode()
    body = b"ok" if environ["PATH_INFO"] == "/tasks" else pid
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
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


def call(port: int, path: str, method: str = "GET") -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
    connection.request(method, path)
    return connection


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "file",
    [
        *("clips.zip", "parts/0", "contact-sheet.jpg"),
        # As callers may write the same paths.
        *("clips%2Ezip", "parts/%30", "contact-sheet.jpg/", "preview.jpg//?x", "preview.jpg#x"),
        "/" * 1000 + "preview.jpg",
    ],
)
def test_readers_of_files_keep_no_other_call_waiting(
    port: int, tmp_path: Path, file: str, method: str
) -> None:
    with ExitStack() as stack:
        for number in range(threads + 1):
            stack.callback(call(port, f"/tasks/{number}/{file}", method).close)
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
    wait_until(lambda: len(child_pids(service.master)) == 2)
    began = time.monotonic()
    while time.monotonic() < began + 3:  # the master tells the old one to stop at once
        assert pid_of_answer(service.port) == old
    imports_wait.unlink()
    wait_until(lambda: old not in child_pids(service.master))
    assert pid_of_answer(service.port) != old


@pytest.mark.parametrize("fault", ["import_fails", "import_exits"])
def test_reload_of_an_app_that_does_not_start_leaves_the_old_process(
    service: Service, tmp_path: Path, fault: str
) -> None:
    old = pid_of_answer(service.port)
    (tmp_path / fault).touch()
    os.kill(service.master, signal.SIGHUP)
    began = time.monotonic()
    while time.monotonic() < began + 4:
        assert pid_of_answer(service.port) == old
        time.sleep(0.1)
    (tmp_path / fault).unlink()
    os.kill(service.master, signal.SIGHUP)
    wait_until(lambda: pid_of_answer(service.port) != old)


def test_process_whose_successor_does_not_start_has_another_one(
    service: Service, tmp_path: Path
) -> None:
    old = pid_of_answer(service.port)
    (tmp_path / "import_fails").touch()
    os.kill(old, signal.SIGKILL)
    time.sleep(3)
    (tmp_path / "import_fails").unlink()
    assert pid_of_answer(service.port) != old


def test_app_that_never_started_ends_the_service(tmp_path: Path) -> None:
    (tmp_path / "held.py").write_text("raise ValueError")
    command = [sys.executable, "-m", "gunicorn", "--config", "python:idrl_common.gunicorn_conf"]
    command += ["--bind", "127.0.0.1:0", "--chdir", str(tmp_path), "held"]
    assert subprocess.run(command, timeout=60, check=False).returncode == 3


def test_callers_wait_while_a_process_has_no_descriptor_left(port: int) -> None:
    with closing(call(port, "/no-more-files")) as kept:
        pid = kept.getresponse().read()
        with closing(call(port, "/pid")) as other:
            time.sleep(1.5)
            kept.request("GET", "/more-files")
            assert kept.getresponse().read() == pid
            assert other.getresponse().read() == pid


def test_callers_wait_for_threads_where_none_can_be_started(port: int) -> None:
    with ExitStack() as stack:
        kept = stack.enter_context(closing(call(port, "/no-more-threads")))
        pid = kept.getresponse().read()
        paths = ["/slow", "/slow", "/slow", "/health", "/ready", "/ready", "/uploads"]
        others = [stack.enter_context(closing(call(port, path))) for path in paths]
        assert {other.getresponse().read() for other in others} == {pid}
