"""Uploads by tus 1.0: what is confirmed is on the disk, and nothing else is."""

import hashlib
import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from upload_testing import BYTES, CONTENT, NAME, Uploads, encoded, file_of
from werkzeug.test import TestResponse

from idrl_testing.database import Database
from worker_server.api import upload_receiving
from worker_server.api.tus import Checksum
from worker_server.app import create_app
from worker_server.db import db
from worker_server.jobs.failures import failure_of
from worker_server.jobs.fetch import fetch_next
from worker_server.jobs.runtime import Runtime
from worker_server.jobs.uploads import link_upload, remove_orphaned_uploads, remove_unneeded_uploads
from worker_server.queue import uploads as upload_rows
from worker_server.settings import Settings
from worker_server.upload_files import UploadBusy, locked_file
from worker_testing import URL, problem

Auth = Callable[..., dict[str, str]]


@pytest.fixture
def other_uploads(client: FlaskClient, auth: Auth) -> Uploads:
    return Uploads(client, auth(2))


def test_upload_in_three_pieces(uploads: Uploads, share: Path, database: Database) -> None:
    path = uploads.new()
    head = uploads.client.head(path, headers=uploads.headers)
    assert head.headers["Upload-Length"] == str(len(CONTENT))
    assert head.headers["Upload-Metadata"].startswith("filename ")
    assert (head.headers["Cache-Control"], head.headers["Tus-Resumable"]) == ("no-store", "1.0.0")
    for begin, end in ((0, 1), (1, 200_000), (200_000, len(CONTENT))):
        response = uploads.patch(path, begin, CONTENT[begin:end])
        assert (response.status_code, response.headers["Upload-Offset"]) == (204, str(end))
        expires_at = parsedate_to_datetime(response.headers["Upload-Expires"])
        left_s = (expires_at - datetime.now(UTC)).total_seconds()
        assert 23.9 < left_s / 3600 <= 24
        assert uploads.offset(path) == end
    assert file_of(share, path).read_bytes() == CONTENT
    [(counted,)] = database.execute(
        "SELECT sum(amount) FROM metric_increments WHERE metric = 'idrl_bytes_total'"
    )
    assert counted == len(CONTENT)


def test_creation_with_the_first_bytes(uploads: Uploads, share: Path) -> None:
    headers = {**uploads.headers, "Upload-Length": str(len(CONTENT)), "Content-Type": BYTES}
    response = uploads.client.post("/uploads", headers=headers, data=CONTENT[:1000])
    assert (response.status_code, response.headers["Upload-Offset"]) == (201, "1000")
    assert file_of(share, response.headers["Location"]).read_bytes() == CONTENT[:1000]


def test_options_lists_the_tus_features(uploads: Uploads, settings: Settings) -> None:
    headers = uploads.client.options("/uploads", headers=uploads.headers).headers
    assert headers["Tus-Version"] == "1.0.0"
    assert headers["Tus-Max-Size"] == str(settings.fetch_max_bytes)
    assert "sha1" in headers["Tus-Checksum-Algorithm"].split(",")
    assert {"creation", "termination", "checksum", "expiration", "creation-with-upload"} == set(
        headers["Tus-Extension"].split(",")
    )


@pytest.mark.parametrize("offset", [0, 999, 1001, len(CONTENT)])
def test_wrong_offset_appends_nothing(uploads: Uploads, share: Path, offset: int) -> None:
    path = uploads.new()
    uploads.patch(path, 0, CONTENT[:1000])
    response = uploads.patch(path, offset, b"x" * 10)
    assert problem(response) == (409, "upload_offset")
    assert (response.headers["Upload-Offset"], uploads.offset(path)) == ("1000", 1000)
    assert file_of(share, path).read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize("algorithm", ["sha1", "md5", "sha256", "sha512"])
def test_bytes_with_a_wrong_checksum_are_refused(
    uploads: Uploads, share: Path, algorithm: str
) -> None:
    path = uploads.new()
    digest = encoded(hashlib.new(algorithm, CONTENT[:500]).digest())
    checksum = {"Upload-Checksum": f"{algorithm} {digest}"}
    assert problem(uploads.patch(path, 0, CONTENT[:499], **checksum)) == (
        460,
        "checksum_mismatch",
    )
    assert (uploads.offset(path), file_of(share, path).stat().st_size) == (0, 0)
    assert uploads.patch(path, 0, CONTENT[:500], **checksum).status_code == 204
    assert uploads.offset(path) == 500


def test_checked_bytes_of_a_deleted_upload_end_soon(
    uploads: Uploads, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of a checked call is confirmed before its end, and it may take a day."""
    monkeypatch.setattr(upload_receiving, "_CONFIRM_EVERY_BYTES", 1024 * 1024)
    path = uploads.new(64 * 1024 * 1024)
    state = upload_rows.find(1, uuid.UUID(path.rpartition("/")[2]))
    received: list[int] = []

    def read(size: int) -> bytes:
        if len(received) == 1:
            assert uploads.client.delete(path, headers=uploads.headers).status_code == 204
        received.append(size)
        return bytes(size)

    checksum, body = Checksum("sha1", bytes(20)), (read, state.length_bytes)
    with pytest.raises(upload_rows.UploadGone):
        upload_receiving.receive(share, 1, state, 0, body, checksum, lambda _: None)
    assert sum(received) < 2 * 1024 * 1024


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("crc99 AAAA", "checksum_algorithm"),
        ("sha1 !!", "tus_header_invalid"),
        ("sha1 AAAA", "tus_header_invalid"),
        ("sha1 é", "tus_header_invalid"),
        ("é AAAA", "checksum_algorithm"),
    ],
)
def test_wrong_checksum_header(uploads: Uploads, header: str, code: str) -> None:
    response = uploads.patch(uploads.new(), 0, b"x", **{"Upload-Checksum": header})
    assert problem(response) == (400, code)


@pytest.mark.parametrize("length", ["", "-1", "x", "0", "1.5", "9" * 30])
def test_wrong_length(uploads: Uploads, length: str) -> None:
    assert problem(uploads.create(length)) == (400, "tus_header_invalid")


def test_wrong_headers(uploads: Uploads, settings: Settings) -> None:
    assert problem(uploads.create(settings.fetch_max_bytes + 1)) == (413, "upload_too_large")
    defer = uploads.create(5, **{"Upload-Defer-Length": "1"})
    assert problem(defer) == (400, "tus_header_invalid")
    long = f"a {encoded(b'x' * 4000)}"
    for metadata in ("a !", "a YQ==,a YQ==", ",", long, "filename é", "filename YQ==é", "é YQ=="):
        response = uploads.create(5, **{"Upload-Metadata": metadata})
        assert problem(response) == (400, "tus_header_invalid"), metadata
    path = uploads.new()
    assert problem(uploads.patch(path, "x", b"x")) == (400, "tus_header_invalid")
    wrong_type = uploads.patch(path, 0, b"x", **{"Content-Type": "text/plain"})
    assert problem(wrong_type) == (415, "unsupported_media_type")
    old = uploads.patch(path, 0, b"x", **{"Tus-Resumable": "0.2.2"})
    assert (problem(old), old.headers["Tus-Version"]) == ((412, "tus_version"), "1.0.0")
    assert problem(uploads.patch(path, 0, CONTENT + b"x")) == (413, "upload_too_large")
    assert uploads.offset(path) == 0


def test_another_owner_sees_nothing(uploads: Uploads, other_uploads: Uploads) -> None:
    path = uploads.new()
    assert other_uploads.client.head(path, headers=other_uploads.headers).status_code == 404
    assert problem(other_uploads.patch(path, 0, b"x")) == (404, "upload_not_found")
    deleted = other_uploads.client.delete(path, headers=other_uploads.headers)
    assert problem(deleted) == (404, "upload_not_found")
    assert other_uploads.client.get("/uploads", headers=other_uploads.headers).get_json() == []
    [listed] = uploads.client.get("/uploads", headers=uploads.headers).get_json()
    assert (listed["link"], listed["name"]) == (path, NAME)
    anonymous = uploads.client.patch(path, headers={"Tus-Resumable": "1.0.0"})
    assert problem(anonymous) == (401, "token_missing")


def test_every_answer_names_the_version_of_tus(uploads: Uploads) -> None:
    path, client = uploads.new(), uploads.client
    answers = {
        401: client.patch(path),
        404: client.head(f"{path}/more", headers=uploads.headers),
        405: client.put(path, headers=uploads.headers),
        412: client.head(path, headers={"Authorization": uploads.headers["Authorization"]}),
        413: uploads.patch(path, 0, CONTENT + b"x"),
    }
    for status, answer in answers.items():
        assert (answer.status_code, answer.headers.get("Tus-Resumable")) == (status, "1.0.0")
    assert "Tus-Resumable" not in client.get("/tasks", headers=uploads.headers).headers


def test_one_writer_at_a_time(uploads: Uploads, share: Path) -> None:
    path = uploads.new()
    upload_id = uuid.UUID(path.rpartition("/")[2])
    with locked_file(share, upload_id):
        response = uploads.patch(path, 0, b"x")
        assert problem(response) == (423, "upload_busy")
        with pytest.raises(UploadBusy), locked_file(share, upload_id):
            pass
    assert uploads.patch(path, 0, b"x").status_code == 204


def test_unconfirmed_bytes_are_cut_off(uploads: Uploads, share: Path) -> None:
    """As a killed process leaves them."""
    path = uploads.new()
    uploads.patch(path, 0, CONTENT[:1000])
    with file_of(share, path).open("ab") as file:
        file.write(b"unconfirmed" * 100)
    assert uploads.offset(path) == 1000
    assert uploads.patch(path, 1000, CONTENT[1000:]).status_code == 204
    assert file_of(share, path).read_bytes() == CONTENT


def test_lost_bytes_end_the_upload(uploads: Uploads, share: Path) -> None:
    path = uploads.new()
    uploads.patch(path, 0, CONTENT[:1000])
    os.truncate(file_of(share, path), 999)
    assert problem(uploads.patch(path, 1000, b"x")) == (410, "upload_gone")
    assert uploads.client.head(path, headers=uploads.headers).status_code == 410


def test_unavailable_share_keeps_the_offset(uploads: Uploads, share: Path) -> None:
    path = uploads.new()
    uploads.patch(path, 0, CONTENT[:1000])
    (share / ".idrl-share").unlink()
    assert problem(uploads.patch(path, 1000, b"x")) == (503, "storage_unavailable")
    (share / ".idrl-share").touch()
    assert uploads.offset(path) == 1000


def test_deleted_and_expired_uploads_go(
    uploads: Uploads, settings: Settings, share: Path, database: Database
) -> None:
    paths = [uploads.new() for _ in range(3)]
    for path in paths:
        uploads.patch(path, 0, CONTENT[:10])
    assert uploads.client.delete(paths[0], headers=uploads.headers).status_code == 204
    database.execute(
        "UPDATE uploads SET expires_at = now() - interval '2 min'"
        f" WHERE id = '{paths[1].rpartition('/')[2]}'"
    )
    for path in paths[:2]:
        assert problem(uploads.patch(path, 10, b"x")) == (410, "upload_gone")
        again = uploads.client.delete(path, headers=uploads.headers)
        assert problem(again) == (410, "upload_gone")
    orphan = share / "uploads" / "00000000-0000-4000-8000-000000000000"
    orphan.touch()
    os.utime(orphan, (0, 0))
    remove_unneeded_uploads(settings)
    remove_orphaned_uploads(settings)
    assert list((share / "uploads").iterdir()) == [file_of(share, paths[2])]
    assert database.execute("SELECT count(*) FROM uploads WHERE removed_at IS NULL") == [(1,)]


def bytes_used(calls: Uploads) -> int:
    return int(calls.client.get("/usage", headers=calls.headers).get_json()["uploads_bytes"])


def test_usage_counts_uploads_as_long_as_their_file_is_kept(
    uploads: Uploads, other_uploads: Uploads, settings: Settings
) -> None:
    whole = uploads.whole(CONTENT)
    begun, deleted = uploads.new(1000), uploads.new(5000)
    uploads.client.delete(deleted, headers=uploads.headers)
    assert (bytes_used(uploads), bytes_used(other_uploads)) == (len(CONTENT) + 1000, 0)
    created = uploads.client.post("/tasks", headers=uploads.headers, json={"upload_id": whole})
    assert created.status_code == 202
    uploads.patch(begun, 0, b"x")
    assert bytes_used(uploads) == len(CONTENT) + 1000
    uploads.client.delete(created.get_json()["link"], headers=uploads.headers)
    remove_unneeded_uploads(settings)
    assert bytes_used(uploads) == 1000


@pytest.mark.usefixtures("no_wakeups")
def test_tasks_that_wait_hide_no_uploads_from_the_quota(
    settings: Settings, auth: Auth, share: Path
) -> None:
    """Their files are on the share: one quota after the other could be filled with them."""
    app = create_app(settings.model_copy(update={"quota_bytes": 1000}))
    with app.app_context():
        uploads = Uploads(app.test_client(), auth())
        task = {"upload_id": uploads.whole(b"x" * 600), "start": "manual"}
        created = uploads.client.post("/tasks", json=task, headers=uploads.headers)
        assert created.status_code == 202
        assert [file.stat().st_size for file in (share / "uploads").iterdir()] == [600]
        assert problem(uploads.create(600)) == (403, "quota_bytes")
        uploads.client.delete(created.get_json()["link"], headers=uploads.headers)
        remove_unneeded_uploads(settings)
        assert list((share / "uploads").iterdir()) == []
        assert uploads.create(600).status_code == 201


@pytest.mark.usefixtures("no_wakeups")
def test_other_tasks_find_the_space_of_uploads_taken(settings: Settings, auth: Auth) -> None:
    """An upload is in the way of all tasks but its own, which reads it."""
    app = create_app(settings.model_copy(update={"quota_bytes": 1000}))
    with app.app_context():
        uploads = Uploads(app.test_client(), auth())
        first, second = uploads.whole(b"x" * 500), uploads.whole(b"y" * 500)

        def post_task(**source: str) -> TestResponse:
            return uploads.client.post("/tasks", json=source, headers=uploads.headers)

        assert problem(post_task(url=URL)) == (403, "quota_bytes")
        brand = uploads.client.post("/brands", data={"name": "Race"}, headers=uploads.headers)
        assert problem(brand) == (403, "quota_bytes")
        accepted = post_task(upload_id=first)
        assert accepted.status_code == 202
        db.session.execute(text("UPDATE tasks SET status = 'failed', finished_at = now()"))
        db.session.commit()
        link = accepted.get_json()["link"]
        assert uploads.client.post(f"{link}/retry", headers=uploads.headers).status_code == 202
        items = [{"upload_id": second}]
        batch = uploads.client.post("/batches", json={"items": items}, headers=uploads.headers)
        assert batch.status_code == 202
        assert problem(post_task(url=URL)) == (403, "quota_bytes")


def test_number_of_unused_uploads_is_bounded(uploads: Uploads, database: Database) -> None:
    path = uploads.new()
    database.execute(
        "INSERT INTO uploads (id, owner_id, length_bytes, offset_bytes, expires_at)"
        " SELECT gen_random_uuid(), 1, 1, 0, now() + interval '1 h'"
        f" FROM generate_series(1, {upload_rows.MAX_OPEN - 1})"
    )
    assert problem(uploads.create()) == (429, "too_many_uploads")
    assert uploads.client.delete(path, headers=uploads.headers).status_code == 204
    assert uploads.create().status_code == 201


def test_quota_is_checked_before_the_first_byte(settings: Settings, auth: Auth) -> None:
    app = create_app(settings.model_copy(update={"quota_bytes": 1000}))
    with app.app_context():
        uploads = Uploads(app.test_client(), auth())
        assert uploads.create(600).status_code == 201
        assert problem(uploads.create(600)) == (403, "quota_bytes")
        assert uploads.create(400).status_code == 201


@pytest.mark.usefixtures("no_wakeups")
def test_upload_becomes_a_task(
    uploads: Uploads,
    other_uploads: Uploads,
    settings: Settings,
    runtime: Runtime,
    share: Path,
    site_folder: Path,
    sample: Callable[..., str],
) -> None:
    content = (site_folder / sample(3)).read_bytes()
    upload_id = uploads.whole(content)
    unfinished = uploads.new().rpartition("/")[2]

    def post(calls: Uploads, body: object) -> TestResponse:
        return calls.client.post("/tasks", json=body, headers=calls.headers)

    assert problem(post(uploads, {"upload_id": unfinished})) == (409, "upload_unfinished")
    assert problem(post(other_uploads, {"upload_id": upload_id})) == (404, "upload_not_found")
    both = {"upload_id": upload_id, "url": "http://example.com/v.mp4"}
    assert problem(post(uploads, both)) == (400, "invalid_body")
    assert problem(post(uploads, {"upload_id": "x"})) == (400, "invalid_body")
    response = post(uploads, {"upload_id": upload_id})
    task = response.get_json()
    assert (response.status_code, task["name"], task["url"]) == (202, NAME, f"upload:{upload_id}")
    batch = {"items": [{"upload_id": upload_id}]}
    again = uploads.client.post("/batches", json=batch, headers=uploads.headers)
    assert problem(again) == (400, "invalid_batch")
    used = uploads.client.delete(f"/uploads/{upload_id}", headers=uploads.headers)
    assert problem(used) == (409, "upload_used")
    more = uploads.patch(f"/uploads/{upload_id}", len(content), b"")
    assert problem(more) == (409, "upload_used")
    remove_unneeded_uploads(settings)
    assert fetch_next(settings, runtime)
    shown = uploads.client.get(task["link"], headers=uploads.headers).get_json()
    assert (shown["status"], shown["source"]["duration_s"]) == ("processing", 3)
    assert shown["source"]["size_bytes"] == len(content)
    [source] = (share / task["task_id"]).glob("source.*")
    assert source.samefile(share / "uploads" / upload_id)
    uploads.client.delete(task["link"], headers=uploads.headers)


def test_upload_whose_task_has_no_folder_is_not_called_gone(
    uploads: Uploads, settings: Settings, share: Path
) -> None:
    """A removal that began before a retry may take the folder just then."""
    upload_id = uploads.whole(CONTENT)
    target = share / str(uuid.uuid4()) / "source.2"
    with pytest.raises(FileNotFoundError) as raised:
        link_upload(uuid.UUID(upload_id), target, settings)
    failure = failure_of(raised.value, share)
    assert (failure.code, failure.retryable) == ("storage_unavailable", True)


@pytest.mark.usefixtures("no_wakeups")
def test_task_without_its_upload_fails_with_its_code(
    uploads: Uploads, settings: Settings, runtime: Runtime, share: Path
) -> None:
    upload_id = uploads.whole(CONTENT)
    task = uploads.client.post("/tasks", json={"upload_id": upload_id}, headers=uploads.headers)
    (share / "uploads" / upload_id).unlink()
    assert fetch_next(settings, runtime)
    shown = uploads.client.get(task.get_json()["link"], headers=uploads.headers).get_json()
    assert (shown["status"], shown["error"]["code"]) == ("failed", "upload_gone")
