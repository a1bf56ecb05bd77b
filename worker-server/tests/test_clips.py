"""Downloading a clip from the tasks service."""

import uuid
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from werkzeug.http import parse_options_header
from werkzeug.test import TestResponse

from idrl_testing.database import Database
from worker_server import app as app_module
from worker_server.api import archives, clips
from worker_server.api.clips import ClipSender
from worker_server.api.slots import slots_for
from worker_server.db import db
from worker_server.settings import Settings
from worker_testing import parts_of, problem, processing, task_of

Auth = Callable[..., dict[str, str]]


def test_a_clip_can_be_read_in_ranges(
    client: FlaskClient, auth: Auth, finished: tuple[str, bytes]
) -> None:
    task_id, content = finished

    def get(method: str = "GET", **headers: str) -> TestResponse:
        path = f"/tasks/{task_id}/parts/0"
        response = client.open(path, method=method, headers={**auth(), **headers}, buffered=True)
        response.close()
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
    for range_header, wanted in (
        ("0-", content),
        ("7-", content[7:]),
        ("-9", content[-9:]),
        ("0-0", content[:1]),
    ):
        part = get(Range=f"bytes={range_header}")
        assert (part.status_code, part.data, part.content_length) == (206, wanted, len(wanted))
    assert get(**{"Range": "bytes=0-9", "If-Range": '"another"'}).data == content
    assert get("HEAD", Range="bytes=0-9").data == b""
    assert get(Range="bytes=0-1,4-5").data == content
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


@pytest.mark.parametrize(
    ("task_name", "part_name", "expected"),
    [
        ("race.mp4", None, "race 01.mp4"),
        ("Finale: Nächte", "Lap/2", "Finale_ Nächte 01 Lap_2.mp4"),
        (None, None, "race 01.mp4"),  # the name of the file in the URL
    ],
)
def test_clip_is_saved_under_the_name_of_its_task(
    client: FlaskClient,
    auth: Auth,
    finished: tuple[str, bytes],
    task_name: str | None,
    part_name: str | None,
    expected: str,
) -> None:
    task_id = uuid.UUID(finished[0])
    parts_of(task_id)[0].name = part_name
    db.session.flush()
    task_of(task_id).name = task_name
    db.session.commit()
    with client.get(f"/tasks/{finished[0]}/parts/0", headers=auth()) as answer:
        _, options = parse_options_header(answer.headers["Content-Disposition"])
    assert options["filename"] == expected


@pytest.mark.parametrize("number", ["1", "2147483648", "99999999999999999999"])
def test_a_part_that_does_not_exist(
    client: FlaskClient, auth: Auth, finished: tuple[str, bytes], number: str
) -> None:
    response = client.get(f"/tasks/{finished[0]}/parts/{number}", headers=auth())
    assert problem(response) == (404, "part_not_found")


@pytest.mark.parametrize("number", ["%D9%A0", "%EF%BC%90", "0%D9%A0", "+0", "0_0", "-0", "0.0"])
@pytest.mark.parametrize("file", ["", "/poster.jpg"])
def test_a_part_whose_number_is_written_in_another_way(
    client: FlaskClient, auth: Auth, finished: tuple[str, bytes], number: str, file: str
) -> None:
    response = client.get(f"/tasks/{finished[0]}/parts/{number}{file}", headers=auth())
    assert problem(response) == (404, "not_found")


def test_a_part_that_is_not_ready(client: FlaskClient, auth: Auth) -> None:
    response = client.get(f"/tasks/{processing(parts=1)}/parts/0", headers=auth())
    assert problem(response) == (409, "part_not_ready")


def test_a_clip_whose_file_is_missing(
    client: FlaskClient, auth: Auth, finished: tuple[str, bytes], settings: Settings
) -> None:
    (settings.remote_folder / finished[0] / "0.1.mp4").unlink()
    (settings.remote_folder / ".idrl-share").rename(settings.remote_folder / "away")
    response = client.get(f"/tasks/{finished[0]}/parts/0", headers=auth())
    assert problem(response) == (503, "storage_unavailable")
    assert response.headers["Retry-After"]


def test_clip_that_cannot_be_opened_is_requested_again(
    client: FlaskClient, auth: Auth, finished: tuple[str, bytes], settings: Settings
) -> None:
    """As ESTALE of a share would: the clip is neither lost nor an internal fault."""
    clip = settings.remote_folder / finished[0] / "0.1.mp4"
    kept = clip.rename(clip.with_name("kept"))
    clip.symlink_to(clip)  # opening it fails with ELOOP
    path = f"/tasks/{finished[0]}/parts/0"
    response = client.get(path, headers=auth())
    assert problem(response) == (503, "storage_unavailable")
    assert response.headers["Retry-After"]
    kept.rename(clip)
    with client.get(path, headers=auth()) as answer:
        assert answer.data == finished[1]


def test_missing_clip_file_is_lost(
    client: FlaskClient, auth: Auth, finished: tuple[str, bytes], settings: Settings
) -> None:
    (settings.remote_folder / finished[0] / "0.1.mp4").unlink()
    path = f"/tasks/{finished[0]}/parts/0"
    assert problem(client.get(path, headers=auth())) == (410, "clip_lost")
    assert problem(client.get(path, headers=auth())) == (409, "part_not_ready")
    task = client.get(f"/tasks/{finished[0]}", headers=auth()).get_json()
    assert (task["status"], task["error"]["code"]) == ("failed", "clip_lost")
    assert client.post(f"/tasks/{finished[0]}/retry", headers=auth()).status_code == 202


def test_downloads_that_hang_leave_threads_to_the_other_calls(
    settings: Settings, auth: Auth, finished: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = ClipSender(settings.remote_folder, lambda _: None, openings=1, wait_s=0.01)
    monkeypatch.setattr(app_module, "ClipSender", lambda *_: sender)
    client = app_module.create_app(settings).test_client()
    path = f"/tasks/{finished[0]}/parts/0"
    with sender._share.reading():  # as if another call were blocked by the share
        assert problem(client.get(path, headers=auth())) == (503, "storage_unavailable")
        assert client.get("/tasks", headers=auth()).status_code == 200
    for headers, status in (
        ({"Range": "bytes=999999-"}, 416),
        ({"If-None-Match": "*"}, 304),
        ({}, 200),
    ):
        with client.get(path, headers={**auth(), **headers}) as response:
            assert response.status_code == status


@pytest.mark.parametrize(
    ("file", "needs_slot_without_body"), [("parts/0", False), ("clips.zip", True)]
)
def test_slow_downloads_of_one_account_leave_slots_to_others(
    auth: Auth,
    finished: tuple[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    database: Database,
    file: str,
    *,
    needs_slot_without_body: bool,
) -> None:
    for module in (clips, archives):
        monkeypatch.setattr(module, "slots_for", lambda what, *_: slots_for(what, 2, 1))
    client = app_module.create_app(settings).test_client()
    own_clip = f"/tasks/{finished[0]}/{file}"
    with client.get(own_clip, headers=auth()) as open_answer:
        assert open_answer.status_code == 200
        refused = client.get(own_clip, headers=auth())
        assert problem(refused) == (429, "too_many_requests")
        assert refused.headers["Retry-After"]
        # What sends no file needs no slot, except to look for the files of a ZIP.
        tag = {"If-None-Match": open_answer.headers["ETag"]}
        without_body = (
            client.get(own_clip, headers={**auth(), **tag}).status_code,
            client.head(own_clip, headers=auth()).status_code,
        )
        assert without_body == ((429, 429) if needs_slot_without_body else (304, 200))
        database.execute("UPDATE tasks SET owner_id = 2")
        database.execute("UPDATE parts SET owner_id = 2")
        with client.get(own_clip, headers=auth(2)) as other_response:
            assert other_response.status_code == 200
            database.execute("UPDATE tasks SET owner_id = 3")
            database.execute("UPDATE parts SET owner_id = 3")
            assert problem(client.get(own_clip, headers=auth(3))) == (503, "too_busy")
    with client.get(own_clip, headers=auth(3)) as free_again:
        assert free_again.status_code == 200
