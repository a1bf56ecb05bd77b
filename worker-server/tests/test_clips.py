"""Downloading a clip from the tasks service."""

from collections.abc import Callable
from threading import BoundedSemaphore

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from worker_server.api import views
from worker_server.queue import leases
from worker_server.queue.leases import Lease
from worker_server.settings import Settings
from worker_testing import SOURCE, post, problem

Auth = Callable[..., dict[str, str]]


def test_a_clip_can_be_read_in_ranges(
    client: FlaskClient, auth: Auth, finished: tuple[str, bytes]
) -> None:
    task_id, content = finished

    def get(method: str = "GET", **headers: str) -> TestResponse:
        path = f"/tasks/{task_id}/parts/0"
        with client.open(
            path, method=method, headers={**auth(), **headers}, buffered=True
        ) as response:
            return response

    whole = get()
    assert (whole.status_code, whole.mimetype, whole.headers["Accept-Ranges"]) == (
        200,
        "video/mp4",
        "bytes",
    )
    tag = whole.headers["ETag"]
    part = get(**{"Range": "bytes=10-19", "If-Range": tag})
    assert (part.status_code, part.data) == (206, content[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(content)}"
    for asked, wanted in (
        ("0-", content),
        ("7-", content[7:]),
        ("-9", content[-9:]),
        ("0-0", content[:1]),
    ):
        part = get(Range=f"bytes={asked}")
        assert (part.status_code, part.data, part.content_length) == (206, wanted, len(wanted))
    assert get(**{"Range": "bytes=0-9", "If-Range": '"another"'}).data == content
    assert get("HEAD", Range="bytes=0-9").data == b""
    assert problem(get(Range="bytes=0-1,4-5")) == (416, "range_not_satisfiable")
    assert get(**{"If-None-Match": tag}).status_code == 304
    assert problem(get(**{"If-Match": '"another"'})) == (412, "precondition_failed")
    beyond = get(Range="bytes=999999-")
    assert problem(beyond) == (416, "range_not_satisfiable")
    assert beyond.headers["Content-Range"] == f"bytes */{len(content)}"
    head = get("HEAD")
    assert (head.status_code, head.data, int(head.headers["Content-Length"])) == (
        200,
        b"",
        len(content),
    )


@pytest.mark.parametrize("number", ["1", "2147483648", "99999999999999999999"])
def test_a_part_that_does_not_exist(
    client: FlaskClient, auth: Auth, finished: tuple[str, bytes], number: str
) -> None:
    response = client.get(f"/tasks/{finished[0]}/parts/{number}", headers=auth())
    assert problem(response) == (404, "part_not_found")


def test_a_part_that_is_not_ready(client: FlaskClient, auth: Auth) -> None:
    task_id = post(client, auth()).get_json()["task_id"]
    row = leases.claim_task("test", 30)
    assert row is not None
    part = {"number": 0, "start_frame": 0, "end_frame": 600, "start_s": 0.0, "end_s": 20.0}
    leases.begin_processing(Lease(row.id, row.attempt), SOURCE, "source", [part])
    assert problem(client.get(f"/tasks/{task_id}/parts/0", headers=auth())) == (
        409,
        "part_not_ready",
    )


def test_a_clip_whose_file_is_away(
    client: FlaskClient, auth: Auth, finished: tuple[str, bytes], settings: Settings
) -> None:
    (settings.remote_folder / finished[0] / "0.1.mp4").unlink()
    response = client.get(f"/tasks/{finished[0]}/parts/0", headers=auth())
    assert problem(response) == (503, "storage_unavailable")
    assert response.headers["Retry-After"]


def test_downloads_that_hang_leave_threads_to_the_other_calls(
    client: FlaskClient, auth: Auth, finished: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = BoundedSemaphore(1)
    monkeypatch.setattr(views, "_opening", opening)
    monkeypatch.setattr(views, "_TURN_S", 0.01)
    path = f"/tasks/{finished[0]}/parts/0"
    with opening:  # as if another call were blocked by the share
        assert problem(client.get(path, headers=auth())) == (503, "storage_unavailable")
        assert client.get("/tasks", headers=auth()).status_code == 200
    for headers, status in (
        ({"Range": "bytes=999999-"}, 416),
        ({"If-None-Match": "*"}, 304),
        ({}, 200),
    ):
        with client.get(path, headers={**auth(), **headers}) as response:
            assert response.status_code == status
