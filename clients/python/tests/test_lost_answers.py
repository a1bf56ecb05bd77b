"""A task that was made of an upload, without the client having learnt of it."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import pytest

from idrl_client import Client, clipping
from idrl_testing.http_servers import serving

USED = {"status": 409, "code": "upload_used", "detail": "A task already uses this upload."}
BUSY = {"status": 423, "code": "upload_busy", "detail": "Another call is sending its bytes."}
REUSED = {"status": 422, "code": "idempotency_key_reused", "detail": "The key has another body."}


class System(ThreadingHTTPServer):
    """Takes uploads and makes tasks of them, as the real system does with Idempotency-Key."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Calls)
        self.uploads: dict[str, int] = {}
        self.used: set[str] = set()
        self.tasks: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        self.busy_answers = 0

    def make_task(self, key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if key in self.tasks:
            first, task = self.tasks[key]
            return (202, task) if first == body else (422, REUSED)
        if body.get("upload_id") in self.used:
            return 409, USED
        self.used.update({body["upload_id"]} if "upload_id" in body else ())
        task = {"task_id": f"task-{len(self.tasks)}", "status": "queued"}
        self.tasks[key] = (body, task)
        return 202, task


class _Calls(BaseHTTPRequestHandler):
    server: System

    def do_GET(self) -> None:
        unused = self.server.uploads.keys() - self.server.used
        rows = [{"upload_id": each, "offset_bytes": self.server.uploads[each]} for each in unused]
        self._send(200, rows)

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.path == "/tasks":
            key = self.headers["Idempotency-Key"]
            self._send(*self.server.make_task(key, json.loads(content)))
            return
        upload_id = f"upload-{len(self.server.uploads)}"
        self.server.uploads[upload_id] = 0
        self._send(201, {}, Location=f"/uploads/{upload_id}")

    def do_PATCH(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.busy_answers > 0:
            self.server.busy_answers -= 1
            self._send(423, BUSY, **{"Retry-After": "0"})
            return
        self.server.uploads[self.path.rpartition("/")[2]] += len(content)
        self._send(200, {})

    def _send(self, status: int, document: object, **headers: str) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 # the library's
        """Log nothing."""


@pytest.fixture
def system() -> Iterator[System]:
    system = System()
    with serving(system):
        yield system


def then_stop(create_task: Callable[..., object]) -> Callable[..., NoReturn]:
    """Return a call that creates the task and is interrupted before its answer is used."""

    def create_and_stop(*arguments: object) -> NoReturn:
        create_task(*arguments)
        raise KeyboardInterrupt

    return create_and_stop


@pytest.mark.parametrize("is_plan", [False, True])
def test_file_is_sent_once_where_the_answer_about_its_task_was_lost(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_plan: bool
) -> None:
    client = Client(f"http://127.0.0.1:{system.server_port}", "k")
    video, folder = tmp_path / "lap.mp4", tmp_path / "clips"
    video.write_bytes(b"video")
    monkeypatch.setattr(clipping, "follow", lambda *_, **__: None)
    with monkeypatch.context() as patch:
        patch.setattr(client, "create_task", then_stop(client.create_task))
        with pytest.raises(KeyboardInterrupt):
            clipping.into_folder(client, [str(video)], {}, folder, print, is_plan=is_plan)
    (job,) = clipping.into_folder(client, [str(video)], {}, folder, print, is_plan=is_plan)
    assert (job.error, job.task_id) == (None, "task-0")
    assert list(system.uploads) == ["upload-0"]
    assert len(system.tasks) == 1


@pytest.mark.parametrize("is_planned_first", [False, True])
def test_task_whose_answer_was_lost_is_found_with_and_without_plan(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_planned_first: bool
) -> None:
    """The two differ in the request's body, and a key is for one body."""
    client = Client(f"http://127.0.0.1:{system.server_port}", "k")
    monkeypatch.setattr(clipping, "follow", lambda *_, **__: None)
    links, is_plan = ["https://a.example/v.mp4"], is_planned_first
    with monkeypatch.context() as patch:
        patch.setattr(client, "create_task", then_stop(client.create_task))
        with pytest.raises(KeyboardInterrupt):
            clipping.into_folder(client, links, {}, tmp_path, print, is_plan=is_plan)
    (job,) = clipping.into_folder(client, links, {}, tmp_path, print, is_plan=not is_plan)
    assert (job.error, job.task_id) == (None, "task-0")
    assert len(system.tasks) == 1


def test_upload_that_a_lost_call_still_holds_is_continued(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may notice only after seconds that the connection of that call is gone."""
    client = Client(f"http://127.0.0.1:{system.server_port}", "k")
    video = tmp_path / "lap.mp4"
    video.write_bytes(b"video")
    monkeypatch.setattr(clipping, "follow", lambda *_, **__: None)
    system.busy_answers = 2
    (job,) = clipping.into_folder(client, [str(video)], {}, tmp_path / "clips", print)
    assert (job.error, job.task_id) == (None, "task-0")
    assert system.uploads == {"upload-0": 5}
