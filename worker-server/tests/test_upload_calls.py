"""Uploads by tus 1.0: calls that bring the first bytes, and methods that a header names."""

import hashlib
import io
import socket
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from gunicorn.http.body import Body, LengthReader
from gunicorn.http.unreader import SocketUnreader
from upload_testing import BYTES, CONTENT, Uploads, encoded, file_of
from werkzeug.test import TestResponse

from idrl_testing.database import Database
from worker_server.api import upload_receiving
from worker_testing import problem

Auth = Callable[..., dict[str, str]]


@pytest.mark.parametrize(
    ("length", "checksum", "refusal"),
    [
        (1000, {"Upload-Checksum": f"sha1 {encoded(bytes(20))}"}, (460, "checksum_mismatch")),
        (999, {}, (413, "upload_too_large")),
    ],
)
def test_refused_first_bytes_leave_no_upload(
    uploads: Uploads, length: int, checksum: dict[str, str], refusal: tuple[int, str]
) -> None:
    headers = {
        **uploads.headers,
        "Upload-Length": str(length),
        "Content-Type": BYTES,
        **checksum,
    }
    response = uploads.client.post("/uploads", headers=headers, data=CONTENT[:1000])
    assert problem(response) == refusal
    assert uploads.client.get("/uploads", headers=uploads.headers).get_json() == []


def test_first_bytes_that_cannot_be_stored_leave_no_upload(uploads: Uploads, share: Path) -> None:
    (share / ".idrl-share").unlink()
    headers = {**uploads.headers, "Upload-Length": "1000", "Content-Type": BYTES}
    response = uploads.client.post("/uploads", headers=headers, data=CONTENT[:1000])
    assert problem(response) == (503, "storage_unavailable")
    (share / ".idrl-share").touch()
    assert uploads.client.get("/uploads", headers=uploads.headers).get_json() == []


@pytest.mark.parametrize(
    ("key", "sent", "shown"),
    [
        ("name", "lap.mp4", "lap.mp4"),
        ("filename", "C:\\videos\\lap.mp4", "lap.mp4"),
        ("filename", "../videos/lap\t\x1b1.mp4", "lap  1.mp4"),
        ("filename", "\u00e9" * 300, "\u00e9" * 200),
        ("filename", " \t ", None),
    ],
    ids=["name", "backslashes", "control characters", "long", "blank"],
)
def test_upload_has_the_name_of_its_file(
    uploads: Uploads, key: str, sent: str, shown: str | None
) -> None:
    """Clients send it by one of two keys, some of them with its folders."""
    metadata = f"{key} {encoded(sent.encode())}"
    assert uploads.create(**{"Upload-Metadata": metadata}).status_code == 201
    (listed,) = uploads.client.get("/uploads", headers=uploads.headers).get_json()
    assert listed["name"] == shown


def patch_chunked(
    calls: Uploads, path: str, offset: int, body: io.BytesIO, **more: str
) -> TestResponse:
    """Send bytes whose number is not announced."""
    headers = {**calls.headers, "Upload-Offset": str(offset), "Content-Type": BYTES, **more}
    chunked = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    return calls.client.patch(path, headers=headers, input_stream=body, environ_overrides=chunked)


@pytest.mark.parametrize("sent_bytes", [1000, 1001, 70_000])
def test_chunked_body_of_too_many_bytes_is_refused(
    uploads: Uploads, share: Path, sent_bytes: int
) -> None:
    """Its length is known only once it has been read."""
    path = uploads.new(1000)
    assert uploads.patch(path, 0, CONTENT[:10]).status_code == 204
    body = io.BytesIO(CONTENT[10:sent_bytes])
    response = patch_chunked(uploads, path, 10, body)
    if sent_bytes == 1000:
        assert (response.status_code, response.headers["Upload-Offset"]) == (204, "1000")
        return
    assert problem(response) == (413, "upload_too_large")
    assert (response.headers["Upload-Offset"], uploads.offset(path)) == ("10", 10)
    assert file_of(share, path).read_bytes() == CONTENT[:10]


class ChunkedBody(io.BytesIO):
    """A body of CONTENT that calls `before_read` before each of its pieces is read."""

    def __init__(self, before_read: Callable[[], object]) -> None:
        super().__init__(CONTENT)
        self._before_read = before_read

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 # any writable buffer
        self._before_read()
        return super().readinto(buffer)


@pytest.mark.parametrize("is_checked", [False, True])
def test_bytes_count_as_they_come_unless_they_are_to_be_checked(
    uploads: Uploads, database: Database, monkeypatch: pytest.MonkeyPatch, is_checked: bool
) -> None:
    """A killed process loses little then; bytes with a wrong checksum count never."""
    monkeypatch.setattr(upload_receiving, "_CONFIRM_EVERY_BYTES", 1)
    path, counted = uploads.new(), set[object]()
    offset = "SELECT offset_bytes FROM uploads"
    body = ChunkedBody(lambda: counted.update(database.execute(offset)))
    digest = encoded(hashlib.sha256(CONTENT).digest())
    checksum = {"Upload-Checksum": f"sha256 {digest}"} if is_checked else {}
    assert patch_chunked(uploads, path, 0, body, **checksum).status_code == 204
    assert (0,) in counted
    assert (len(counted) == 1) is is_checked
    assert uploads.offset(path) == len(CONTENT)


@pytest.mark.parametrize("change", ["deleted_at = now()", "expires_at = now()", "offset_bytes = 7"])
def test_bytes_of_an_upload_that_changes_meanwhile_do_not_count(
    uploads: Uploads, database: Database, change: str
) -> None:
    """It is deleted, or another machine has lost sight of this one's lock."""
    path = uploads.new()
    body = ChunkedBody(lambda: database.execute(f"UPDATE uploads SET {change}"))
    assert problem(patch_chunked(uploads, path, 0, body)) == (409, "upload_offset")
    offset = 7 if "offset" in change else 0
    assert database.execute("SELECT offset_bytes FROM uploads") == [(offset,)]


def override(
    calls: Uploads, path: str, method: str, data: bytes = b"", **more: str
) -> TestResponse:
    headers = {**calls.headers, "X-HTTP-Method-Override": method, **more}
    return calls.client.post(path, headers=headers, data=data)


def test_methods_can_be_named_in_a_header(uploads: Uploads, share: Path) -> None:
    """As tus asks of every server, for callers who can send neither PATCH nor DELETE."""
    path = uploads.new()
    body = {"Content-Type": BYTES}
    sent = override(uploads, path, "PATCH", CONTENT[:1000], **body, **{"Upload-Offset": "0"})
    assert (sent.status_code, sent.headers["Upload-Offset"]) == (204, "1000")
    assert file_of(share, path).read_bytes() == CONTENT[:1000]
    head = override(uploads, path, "HEAD")
    assert (head.status_code, head.headers["Upload-Offset"]) == (200, "1000")
    assert override(uploads, path, "DELETE").status_code == 204
    gone = override(uploads, path, "head")
    assert (gone.status_code, gone.data, gone.headers["Content-Length"]) == (410, b"", "0")
    after = override(uploads, path, "PATCH", b"x", **body, **{"Upload-Offset": "1000"})
    assert problem(after) == (410, "upload_gone")


@pytest.mark.parametrize("method", ["BREW", "GET, PATCH", "GET"])
def test_other_methods_in_the_header_are_refused(uploads: Uploads, method: str) -> None:
    path = uploads.new()
    assert problem(override(uploads, path, method)) == (405, "method_not_allowed")
    assert uploads.offset(path) == 0


def test_method_in_a_header_counts_for_uploads_alone(client: FlaskClient, auth: Auth) -> None:
    headers = {**auth(), "X-HTTP-Method-Override": "GET"}
    assert problem(client.post("/tasks", headers=headers)) == (415, "unsupported_media_type")


class UnreadBody(io.BytesIO):
    """A body that is counted as read by its first read."""

    is_read = False

    def read(self, *_: Any) -> bytes:  # noqa: ANN401 # as BytesIO's
        self.is_read = True
        return b""


@pytest.mark.parametrize(
    ("method", "path", "names", "refusal"),
    [
        ("PUT", "/uploads/{}", ["Authorization"], 405),
        ("PATCH", "/uploads", ["Authorization"], 405),
        ("POST", "/uploads/{}", ["Authorization"], 405),
        ("POST", "/uploads/{}/none", ["Authorization"], 404),
        ("DELETE", "/uploads/{}", ["Authorization"], 412),
        ("GET", "/uploads", [], 401),
    ],
)
def test_refused_call_does_not_wait_for_its_body(
    uploads: Uploads, method: str, path: str, names: list[str], refusal: int
) -> None:
    """nginx passes it on as it comes: its sender would hold a thread."""
    body = UnreadBody()
    stream = {"wsgi.input": body, "wsgi.input_terminated": True, "CONTENT_LENGTH": "1000"}
    response = uploads.client.open(
        path.format(uuid.uuid4()),
        method=method,
        headers={name: uploads.headers[name] for name in names},
        environ_overrides=stream,
    )
    assert (response.status_code, body.is_read) == (refusal, False)
    response.close()
    assert body.is_read


def test_long_call_with_a_checksum_is_ended_if_it_is_slow_too(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes count whole or not at all, so the next one would take as long."""
    monkeypatch.setattr(upload_receiving, "MAX_CALL_S", 0)
    checksum = {"Upload-Checksum": f"sha256 {encoded(hashlib.sha256(CONTENT).digest())}"}
    monkeypatch.setattr(upload_receiving, "MIN_CHECKED_BYTES_S", 1)
    path = uploads.new()
    assert uploads.patch(path, 0, CONTENT, **checksum).status_code == 204
    assert uploads.offset(path) == len(CONTENT)
    other = uploads.new()
    assert uploads.patch(other, 0, CONTENT).status_code == 204
    assert 0 < uploads.offset(other) < len(CONTENT)
    monkeypatch.setattr(upload_receiving, "MIN_CHECKED_BYTES_S", 1e12)
    slow = uploads.new()
    response = uploads.patch(slow, 0, CONTENT, **checksum)
    assert problem(response) == (460, "checksum_mismatch")
    assert "too slowly" in response.get_json()["detail"]
    assert uploads.offset(slow) == 0


@pytest.mark.parametrize(
    ("checked", "answer", "offset"),
    [(None, 204, 3), (CONTENT[:3], 204, 3), (CONTENT, 460, 0)],
)
def test_call_that_drips_bytes_is_ended_with_what_arrived(
    uploads: Uploads,
    monkeypatch: pytest.MonkeyPatch,
    checked: bytes | None,
    answer: int,
    offset: int,
) -> None:
    """gunicorn reads until it has what was asked for, however long that takes."""
    monkeypatch.setattr(upload_receiving, "MAX_CALL_S", 0.5)
    path, size = uploads.new(), len(CONTENT)
    sender, receiver = socket.socketpair()
    body = Body(LengthReader(SocketUnreader(receiver), size))
    headers = {"Upload-Offset": "0", "Content-Type": BYTES}
    if checked is not None:
        headers["Upload-Checksum"] = f"sha256 {encoded(hashlib.sha256(checked).digest())}"
    hang_up = threading.Timer(60, sender.close)
    with sender, receiver:
        sender.sendall(CONTENT[:3])
        hang_up.start()
        response = uploads.client.patch(
            path,
            headers={**uploads.headers, **headers},
            environ_overrides={
                "wsgi.input": body,
                "CONTENT_LENGTH": str(size),
                "gunicorn.socket": receiver,
            },
        )
        is_open = hang_up.is_alive()
        hang_up.cancel()
    assert is_open, "only the caller ended the call"
    assert response.status_code == answer
    assert uploads.offset(path) == offset


@pytest.mark.usefixtures("no_wakeups")
def test_upload_of_a_deleted_task_is_gone(uploads: Uploads) -> None:
    """As its file is: no task is left that could be deleted first."""
    upload_id = uploads.whole(CONTENT)
    path, sources = f"/uploads/{upload_id}", {"upload_id": upload_id}

    def post(path: str, body: object) -> TestResponse:
        return uploads.client.post(path, json=body, headers=uploads.headers)

    task = post("/tasks", sources).get_json()
    assert uploads.client.delete(task["link"], headers=uploads.headers).status_code == 200
    assert uploads.client.delete(task["link"], headers=uploads.headers).status_code == 200
    assert uploads.client.head(path, headers=uploads.headers).status_code == 410
    assert problem(uploads.patch(path, len(CONTENT), b"")) == (410, "upload_gone")
    assert problem(uploads.client.delete(path, headers=uploads.headers)) == (410, "upload_gone")
    assert problem(post("/tasks", sources)) == (410, "upload_gone")
    errors = post("/batches", {"items": [sources]}).get_json()["errors"]
    assert [error["code"] for error in errors] == ["upload_gone"]
