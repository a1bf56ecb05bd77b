"""Somebody who calls the API through nginx, and the web site whose videos that person posts."""

import functools
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

PASSWORD = "Correct-Horse-9"
ENDS = frozenset({"done", "failed", "canceled"})


class Caller:
    """An account with a token."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._session = requests.Session()
        name = uuid.uuid4().hex
        form = {
            "username": name,
            "email": f"{name}@example.org",
            "password": PASSWORD,
            "password_2": PASSWORD,
        }
        assert self.call("POST", "/auth/signup", json=form).status_code == 201
        answer = self.call(
            "POST", "/auth/login", json={"email": form["email"], "password": PASSWORD}
        )
        self.token = str(answer.json()["token"])
        self._session.headers["Authorization"] = f"Bearer {self.token}"

    def call(self, method: str, path: str, **options: Any) -> requests.Response:  # noqa: ANN401 # those of requests
        return self._session.request(method, self.base_url + path, timeout=30, **options)

    def post_task(self, url: str) -> str:
        """Post the URL of a video and return the task's id."""
        answer = self.call("POST", "/tasks", json={"url": url})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["task_id"])

    def task(self, task_id: str) -> dict[str, Any]:
        """Return the task, asking again while a part of the system is being restarted."""
        deadline = time.monotonic() + 60
        while True:
            try:
                answer = self.call("GET", f"/tasks/{task_id}")
            except requests.ConnectionError:
                assert time.monotonic() < deadline, "nobody answers"
            else:
                if answer.status_code == 200:
                    document: dict[str, Any] = answer.json()
                    return document
                assert answer.status_code in (502, 503, 504), answer.text
                assert time.monotonic() < deadline, answer.text
            time.sleep(0.3)

    def wait_for(
        self, task_id: str, condition: Callable[[dict[str, Any]], bool], within_s: float
    ) -> dict[str, Any]:
        """Return the task as soon as the condition holds; fail with the task as it is after `within_s`."""
        deadline = time.monotonic() + within_s
        while not condition(task := self.task(task_id)):
            assert time.monotonic() < deadline, task
            assert task["status"] not in ENDS or condition(task), task
            time.sleep(0.3)
        return task

    def wait_for_end(self, task_id: str, within_s: float = 180) -> dict[str, Any]:
        """Return the task when it has ended in one way or another."""
        return self.wait_for(task_id, lambda task: task["status"] in ENDS, within_s)


def wait_until(condition: Callable[[], bool], within_s: float) -> None:
    """Return as soon as the condition holds; fail after `within_s`."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.3)


def answers(url: str) -> bool:
    """Tell whether there is a system that is ready at the address."""
    try:
        return requests.get(f"{url}/ready", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 # the library's name
        """Say nothing: the tests' own output is what matters."""


@contextmanager
def site(host: str, folder: Path) -> Iterator[str]:
    """Serve the files of a folder and give the address."""
    server = ThreadingHTTPServer((host, 0), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{host}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
