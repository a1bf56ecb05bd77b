"""Calls that write to a hanging share (a hard mount whose server does not answer) are refused."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from idrl_testing.waiting import LIMIT_S, wait_until
from worker_server import brand_making, share_monitor, storage
from worker_testing import URL, problem

pytestmark = pytest.mark.usefixtures("long_brand_timeouts")
Auth = Callable[..., dict[str, str]]
UNAVAILABLE = (503, "storage_unavailable")
TUS = {"Tus-Resumable": "1.0.0"}


class Calls:
    """The calls that write to the share."""

    def __init__(self, client: FlaskClient, headers: dict[str, str]) -> None:
        self.client = client
        self.headers = headers

    def create(self) -> TestResponse:
        headers = {**self.headers, **TUS, "Upload-Length": "10"}
        return self.client.post("/uploads", headers=headers)

    def append(self, path: str, offset: int) -> TestResponse:
        kind = "application/offset+octet-stream"
        headers = {**self.headers, **TUS, "Upload-Offset": str(offset), "Content-Type": kind}
        return self.client.patch(path, headers=headers, data=b"x")

    def make_brand(self) -> TestResponse:
        picture = io.BytesIO()
        Image.new("RGB", (64, 36)).save(picture, "PNG")
        picture.seek(0)
        data = {"name": "Race", "before": (picture, "a.png")}
        kind = "multipart/form-data"
        return self.client.post("/brands", headers=self.headers, data=data, content_type=kind)

    def submit(self) -> TestResponse:
        return self.client.post("/tasks", headers=self.headers, json={"url": URL})


@pytest.fixture
def calls(client: FlaskClient, auth: Auth) -> Calls:
    return Calls(client, auth())


@contextmanager
def hanging(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str
) -> Iterator[threading.Event]:
    """Make a function that touches the share hang, as the kernel does, while the block runs."""
    thaw, real = threading.Event(), getattr(module, name)

    def hang(*arguments: object) -> object:
        thaw.wait(LIMIT_S)
        return real(*arguments)

    monkeypatch.setattr(module, name, hang)
    try:
        yield thaw
    finally:
        thaw.set()


def test_writes_are_refused_while_the_share_hangs(
    calls: Calls, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = calls.create().headers["Location"]
    with monkeypatch.context() as quick, hanging(monkeypatch, storage, "check_usable"):
        quick.setattr(share_monitor, "_FRESH_S", 0.0)
        quick.setattr(share_monitor, "_HANGS_AFTER_S", 0.2)
        wait_until(lambda: calls.create().status_code == 503)
        for answer in (calls.create(), calls.append(path, 0), calls.make_brand()):
            assert problem(answer) == UNAVAILABLE
            assert answer.headers["Retry-After"]
        task = calls.submit()
        assert task.status_code == 202  # nothing is written for it
        seen = client.get(task.get_json()["link"], headers=calls.headers).get_json()
        assert seen["waiting_for"] == "storage_unavailable"
    wait_until(lambda: calls.append(path, 0).status_code == 204)
    assert calls.make_brand().status_code == 201


def test_image_that_a_busy_machine_cannot_read_in_time_is_not_blamed(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as late:
        late.setattr(brand_making, "_required_s", lambda _: 0.0)  # above it, a quick child answers
        answer = calls.make_brand()
        assert problem(answer) == (503, "brands_busy")
        assert answer.headers["Retry-After"] == "5"
    assert calls.make_brand().status_code == 201


def test_brand_whose_files_hang_is_answered_in_time(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as quick, hanging(quick, brand_making, "publish_files"):
        quick.setattr(brand_making, "_PUBLISH_S", 0.2)
        assert problem(calls.make_brand()) == UNAVAILABLE  # while they still hang
    assert calls.make_brand().status_code == 201  # neither its lock nor its slot is held
