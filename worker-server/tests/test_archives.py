"""Manifests and ZIPs of finished clips."""

import hashlib
import io
import json
import uuid
import zipfile
import zlib
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask, g
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from idrl_common.problems import Problem
from idrl_common.token_verifier import Identity
from idrl_testing.database import Database
from worker_server.api import archive_queries, archives, clip_queries, services
from worker_server.api.archives import ArchiveSender
from worker_server.queue import leases
from worker_server.queue.parts import Clip
from worker_server.settings import Settings
from worker_testing import claim_part, claim_task, part_of, plan, problem, processing

Auth = Callable[..., dict[str, str]]
Get = Callable[..., TestResponse]
SOURCE = {
    "size_bytes": 9_000,
    "duration_s": "60",
    "width": 1280,
    "height": 720,
    "frame_rate": "30000/1001",
    "video_codec": "h264",
    "audio_codec": "",
}


@pytest.fixture
def get(client: FlaskClient, auth: Auth) -> Get:
    def call(path: str, method: str = "GET", user_id: int = 1, **headers: str) -> TestResponse:
        response = client.open(
            path, method=method, headers={**auth(user_id), **headers}, buffered=True
        )
        response.close()
        return response

    return call


def content_of(number: int) -> bytes:
    return bytes([number]) * (70_000 + number)


def finish(settings: Settings, *, with_crc: bool = True) -> Path:
    """Finish the next part with a file of its own, and return its path."""
    lease = claim_part()
    path = f"{lease.task_id}/{lease.number}.{lease.attempt}.mp4"
    content = content_of(lease.number)
    file = settings.remote_folder / path
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    crc32 = zlib.crc32(content) if with_crc else None
    assert leases.finish_part(lease, Clip(path, len(content), sha256, 600, "copy", 2, crc32))
    return file


@pytest.fixture
def task_id(client: FlaskClient, auth: Auth, settings: Settings) -> str:
    """A task of three parts, two of them done."""
    body = {"url": "http://example.com/v.mp4", "name": 'Finale: "Nächte"/A.mp4'}
    accepted = client.post("/tasks", json=body, headers=auth()).get_json()["task_id"]
    assert leases.begin_processing(claim_task(), SOURCE, "source", plan(3))
    for _ in range(2):
        finish(settings)
    return str(accepted)


def test_zip_has_what_is_done(get: Get, task_id: str) -> None:
    response = get(f"/tasks/{task_id}/clips.zip")
    assert (response.status_code, response.mimetype) == (200, "application/zip")
    assert response.content_length == len(response.data)
    assert response.headers["Content-Disposition"] == (
        'attachment; filename="Finale_ _Nachte_A.zip"; '
        "filename*=UTF-8''Finale_%20_N%C3%A4chte_A.zip"
    )
    with zipfile.ZipFile(io.BytesIO(response.data)) as archive:
        assert archive.testzip() is None
        *clips, manifest = archive.namelist()
        assert clips == [
            "Finale_ _Nächte_A 01 00m00s-00m20s.mp4",
            "Finale_ _Nächte_A 02 00m20s-00m40s.mp4",
        ]
        assert [archive.read(name) for name in clips] == [content_of(0), content_of(1)]
        inside = json.loads(archive.read(manifest))
    document = get(f"/tasks/{task_id}/manifest.json")
    assert document.get_json() == inside
    assert (
        get(
            f"/tasks/{task_id}/manifest.json", **{"If-None-Match": document.headers["ETag"]}
        ).status_code
        == 304
    )
    assert [part["file"] for part in inside["parts"]] == clips
    assert inside["frame_rate"] == "30000/1001"
    for number, part in enumerate(inside["parts"]):
        assert part["sha256"] == hashlib.sha256(content_of(number)).hexdigest()
        assert (part["start_frame"], part["end_frame"]) == (number * 600, number * 600 + 600)
        assert (part["rendered_by"], part["concealed_frames"]) == ("copy", 2)


def test_names_do_not_change_while_a_long_task_is_being_made(
    client: FlaskClient, auth: Auth, get: Get, settings: Settings
) -> None:
    """They had a third digit once part 100 was done, and saved alone never: 100 came before 99."""
    accepted = client.post("/tasks", json={"url": "http://example.com/v.mp4"}, headers=auth())
    path = accepted.get_json()["link"]
    assert leases.begin_processing(claim_task(), SOURCE, "source", plan(100))
    finish(settings)
    (part,) = get(f"{path}/manifest.json").get_json()["parts"]
    assert part["file"] == "v 001 00m00s-00m20s.mp4"
    archive = zipfile.ZipFile(io.BytesIO(get(f"{path}/clips.zip").data))
    assert archive.namelist() == [part["file"], "manifest.json"]
    assert 'filename="v 001.mp4"' in get(f"{path}/parts/0").headers["Content-Disposition"]


def test_ranges_and_conditions(get: Get, task_id: str) -> None:
    path = f"/tasks/{task_id}/clips.zip"
    whole = get(path)
    tag, size = whole.headers["ETag"], len(whole.data)
    assert not tag.startswith("W/")
    for range_header, wanted in (
        ("0-9", whole.data[:10]),
        ("60000-80000", whole.data[60_000:80_001]),
        (f"{size - 5}-", whole.data[-5:]),
        ("-70", whole.data[-70:]),
    ):
        part = get(path, Range=f"bytes={range_header}", **{"If-Range": tag})
        assert (part.status_code, part.data) == (206, wanted)
        assert part.content_length == len(wanted)
        assert str(size) in part.headers["Content-Range"]
    assert get(path, Range="bytes=0-9", **{"If-Range": '"older"'}).data == whole.data
    several = get(path, Range="bytes=0-1,5-6")
    assert (several.status_code, several.data) == (200, whole.data)
    beyond = get(path, Range=f"bytes={size}-")
    assert problem(beyond) == (416, "range_not_satisfiable")
    assert beyond.headers["Content-Range"] == f"bytes */{size}"
    assert get(path, **{"If-None-Match": tag}).status_code == 304
    assert problem(get(path, **{"If-Match": '"older"'})) == (412, "precondition_failed")
    head = get(path, "HEAD")
    assert (head.status_code, head.data, head.content_length) == (200, b"", size)


def test_tag_changes_with_the_next_clip(get: Get, task_id: str, settings: Settings) -> None:
    path = f"/tasks/{task_id}/clips.zip"
    before = get(path)
    finish(settings)
    after = get(path, Range="bytes=100-", **{"If-Range": before.headers["ETag"]})
    assert (after.status_code, len(zipfile.ZipFile(io.BytesIO(after.data)).namelist())) == (200, 4)


def test_clip_of_an_earlier_release_is_summed_up_once(
    get: Get, settings: Settings, database: Database
) -> None:
    task_id = processing(parts=1)
    file = finish(settings, with_crc=False)
    whole = get(f"/tasks/{task_id}/clips.zip")
    assert zipfile.ZipFile(io.BytesIO(whole.data)).testzip() is None
    (stored,) = database.execute(f"SELECT crc32 FROM parts WHERE task_id = '{task_id}'")
    assert stored == (zlib.crc32(content_of(0)),)
    file.write_bytes(b"x" * 70_000)  # not read again for a HEAD
    assert get(f"/tasks/{task_id}/clips.zip", "HEAD").headers["ETag"] == whole.headers["ETag"]


def test_checksums_that_take_too_long_are_continued_by_the_next_call(
    get: Get, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call has 15 s, and a long video of an earlier release has gigabytes of clips."""
    task_id = processing(parts=2)
    for _ in range(2):
        finish(settings, with_crc=False)
    clock_s = count(0.0, archives._CHECKSUM_LIMIT_S * 0.6)  # it passes with each look at it
    monkeypatch.setattr(archives, "time", SimpleNamespace(monotonic=lambda: next(clock_s)))
    refused = get(f"/tasks/{task_id}/clips.zip")
    assert problem(refused) == (503, "zip_not_ready")
    assert refused.headers["Retry-After"] == "1"
    whole = get(f"/tasks/{task_id}/clips.zip")
    assert zipfile.ZipFile(io.BytesIO(whole.data)).testzip() is None


def test_archive_without_clips_is_refused(get: Get) -> None:
    task_id = processing(parts=1)
    assert problem(get(f"/tasks/{task_id}/clips.zip")) == (409, "no_clips")
    assert get(f"/tasks/{task_id}/manifest.json").get_json()["parts"] == []


@pytest.mark.parametrize("name", ["manifest.json", "clips.zip"])
def test_others_tasks_do_not_exist(get: Get, task_id: str, name: str) -> None:
    for path in (f"/tasks/{task_id}/{name}", f"/tasks/{uuid.uuid4()}/{name}", f"/tasks/1/{name}"):
        assert problem(get(path, user_id=2)) == (404, "task_not_found")
    assert problem(get(f"/batches/{uuid.uuid4()}/clips.zip")) == (404, "batch_not_found")


def test_missing_clip_is_left_out_and_rendered_again(get: Get, settings: Settings) -> None:
    task_id = processing(parts=3)
    lost = finish(settings)
    finish(settings)
    lost.unlink()
    archive = zipfile.ZipFile(io.BytesIO(get(f"/tasks/{task_id}/clips.zip").data))
    assert [name for name in archive.namelist() if name.endswith(".mp4")] == [
        "v 02 00m20s-00m40s.mp4"
    ]
    assert part_of(claim_part()).number == 0


def test_share_is_unavailable(get: Get, task_id: str, settings: Settings) -> None:
    for file in settings.remote_folder.glob("*/*.mp4"):
        file.unlink()
    (settings.remote_folder / ".idrl-share").unlink()
    response = get(f"/tasks/{task_id}/clips.zip")
    assert problem(response) == (503, "storage_unavailable")
    assert response.headers["Retry-After"] == "5"


def test_clip_that_changes_on_the_way_ends_the_connection(
    client: FlaskClient, auth: Auth, task_id: str, settings: Settings
) -> None:
    response = client.get(f"/tasks/{task_id}/clips.zip", headers=auth())
    for file in settings.remote_folder.glob("*/1.*.mp4"):
        file.write_bytes(b"short")
    with pytest.raises(ConnectionResetError):
        b"".join(response.iter_encoded())
    response.close()


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_zip_is_laid_out_in_its_slot(
    app: Flask, task_id: str, settings: Settings, method: str
) -> None:
    """Of 20,000 parts that takes as many calls of the file server, and a thread for as long."""
    sender = ArchiveSender(settings.remote_folder, lambda _: None, lambda *_: None)
    task = archive_queries.task_to_archive(1, uuid.UUID(task_id))
    with app.test_request_context(method=method):
        g.identity = Identity(1)
        frees = [sender._slots.acquire(1) for _ in range(archives._MAX_PARALLEL_PER_ACCOUNT)]
        with pytest.raises(Problem) as refused:
            sender.of_task(task)
        assert refused.value.status == 429
        frees[0]()
        for _ in range(2):
            response = sender.of_task(task)
            assert response.status_code == 200
            response.close()


def test_zip_of_a_batch(client: FlaskClient, auth: Auth, get: Get, settings: Settings) -> None:
    items = [{"url": "http://example.com/race.mp4"}] * 10
    body = {"items": items, "name": "Sunday"}
    batch = client.post("/batches", json=body, headers=auth()).get_json()
    assert problem(get(f"{batch['link']}/clips.zip")) == (409, "no_clips")
    for _ in range(2):
        assert leases.begin_processing(claim_task(), SOURCE, "source", plan(1))
        finish(settings)
    response = get(f"{batch['link']}/clips.zip")
    assert "Sunday.zip" in response.headers["Content-Disposition"]
    archive = zipfile.ZipFile(io.BytesIO(response.data))
    assert archive.testzip() is None
    assert archive.namelist() == [
        f"{number} race/{name}"  # with zeros, so that programs sort ten after two
        for number in ("01", "02")
        for name in ("race 01 00m00s-00m20s.mp4", "manifest.json")
    ]
    assert problem(get(f"{batch['link']}/clips.zip", user_id=2)) == (404, "batch_not_found")


@pytest.fixture
def chosen(client: FlaskClient, auth: Auth, settings: Settings) -> list[str]:
    """Three tasks, oldest first, the first two of them with a clip."""
    names = ("gate", "loop", "race")
    bodies = [{"url": "http://example.com/v.mp4", "name": name} for name in names]
    ids = [client.post("/tasks", json=b, headers=auth()).get_json()["task_id"] for b in bodies]
    for _ in range(2):
        assert leases.begin_processing(claim_task(), SOURCE, "source", plan(1))
        finish(settings)
    return ids


def test_zip_of_chosen_tasks(get: Get, chosen: list[str]) -> None:
    response = get(f"/tasks/clips.zip?task_id={','.join([*reversed(chosen), chosen[0].upper()])}")
    assert "clips.zip" in response.headers["Content-Disposition"]
    archive = zipfile.ZipFile(io.BytesIO(response.data))
    assert archive.testzip() is None
    assert archive.namelist() == [
        f"{folder}/{name}"
        for folder in ("1 gate", "2 loop")
        for name in (f"{folder[2:]} 01 00m00s-00m20s.mp4", "manifest.json")
    ]
    tag = response.headers["ETag"]
    again = get(f"/tasks/clips.zip?task_id={','.join(chosen)}", **{"If-None-Match": tag})
    assert again.status_code == 304
    assert problem(get(f"/tasks/clips.zip?task_id={chosen[2]}")) == (409, "no_clips")


def test_zip_of_tasks_that_are_not_all_there(get: Get, chosen: list[str]) -> None:
    several = f"/tasks/clips.zip?task_id={chosen[0]},"
    assert problem(get(f"{several}{uuid.uuid4()}")) == (404, "task_not_found")
    assert problem(get(f"{several}{chosen[1]}", user_id=2)) == (404, "task_not_found")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?task_id=",
        "?task_id=7",
        f"?task_id={uuid.UUID(int=1)},",
        f"?task_id={','.join(str(uuid.UUID(int=number)) for number in range(101))}",
        f"?task_ids={uuid.UUID(int=1)}",
    ],
)
def test_bad_choice_of_tasks_for_a_zip(get: Get, query: str) -> None:
    assert problem(get(f"/tasks/clips.zip{query}")) == (400, "invalid_query")


def test_other_calls_for_a_task_named_as_the_zip(client: FlaskClient, auth: Auth) -> None:
    response = client.delete("/tasks/clips.zip", headers=auth())
    assert problem(response) == (404, "task_not_found")


def test_shared_archive_does_not_reveal_the_source(get: Get, task_id: str) -> None:
    own = get(f"/tasks/{task_id}/manifest.json").get_json()
    shared = get(f"/tasks/{task_id}/manifest.json?shared=true").get_json()
    hidden = {"url": None, "external_id": None, "metadata": None}
    assert own["url"]
    assert shared == own | hidden
    data = get(f"/tasks/{task_id}/clips.zip?shared=true").data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        inside = json.loads(archive.read("manifest.json"))
    assert inside == shared


def test_clips_of_a_task_that_is_canceled_are_not_lost(
    client: FlaskClient, auth: Auth, get: Get, task_id: str, settings: Settings
) -> None:
    """Its files go a moment before it becomes `canceled`, and its parts with it."""
    assert client.delete(f"/tasks/{task_id}", headers=auth()).status_code == 202
    for file in settings.remote_folder.glob(f"{task_id}/*.mp4"):
        file.unlink()
    assert problem(get(f"/tasks/{task_id}/clips.zip")) == (409, "no_clips")
    assert problem(get(f"/tasks/{task_id}/parts/0")) == (404, "part_not_found")
    events = get(f"/tasks/{task_id}/events").get_json()
    assert "clip_lost" not in {each["kind"] for each in events}


@pytest.mark.usefixtures("app")
def test_clip_of_a_task_that_was_just_deleted_is_not_found() -> None:
    clip = clip_queries.Clip(uuid.uuid4(), 0, None, "video", 1, "x/0.1.mp4", "")
    assert isinstance(services.record_lost_clip(clip), clip_queries.PartNotFound)
