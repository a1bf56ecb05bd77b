"""The `/tasks` calls over HTTP, on the real database."""

import hashlib
import re
import uuid
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from sqlalchemy import event

from idrl_testing.database import Database
from worker_server.db import db
from worker_server.errors import WorkFailed
from worker_server.jobs.removals import remove_due
from worker_server.queue import claims, leases
from worker_server.queue.retry_policy import RetryLimits
from worker_server.settings import Settings
from worker_testing import SOURCE, URL, claim_part, post, problem, processing

Auth = Callable[..., dict[str, str]]


def test_a_task_is_accepted(client: FlaskClient, auth: Auth) -> None:
    response = post(client, auth())
    task = response.get_json()
    assert response.status_code == 202
    assert response.headers["Location"] == f"/tasks/{uuid.UUID(task['task_id'])}"
    assert (task["status"], task["url"], task["progress"], task["error"]) == (
        "queued",
        URL,
        0,
        None,
    )
    assert task["created_at"].endswith("Z")


def test_new_task_is_the_same_in_every_response(client: FlaskClient, auth: Auth) -> None:
    accepted = post(client, auth()).get_json()
    shown = client.get(f"/tasks/{accepted['task_id']}", headers=auth()).get_json()
    (listed,) = client.get("/tasks", headers=auth()).get_json()
    assert list(shown) == [*accepted, "parts"]
    assert {**accepted, "parts": []} == shown
    del accepted["edit"]  # may be long: lists leave it out
    assert listed == accepted
    assert list(listed) == list(accepted)


def test_list_has_the_callers_tasks_in_order(client: FlaskClient, auth: Auth) -> None:
    assert client.get("/tasks", headers=auth()).get_json() == []
    ids = [post(client, auth()).get_json()["task_id"] for _ in range(5)]
    post(client, auth(2))

    def listed(query: str) -> list[str]:
        return [task["task_id"] for task in client.get(f"/tasks{query}", headers=auth()).get_json()]

    assert listed("?order=0") == ids
    assert listed("?order=1") == listed("") == ids[::-1]
    assert listed("?max=2&order=0") == ids[:2]
    assert listed("?max=1000") == ids[::-1]


def test_get_may_have_a_json_content_type(client: FlaskClient, auth: Auth) -> None:
    assert (
        client.get("/tasks", headers={**auth(), "Content-Type": "application/json"}).status_code
        == 200
    )


def test_task_of_another_owner_is_404(
    client: FlaskClient, auth: Auth, finished: tuple[str, bytes]
) -> None:
    task_id, _ = finished
    for path in ("/tasks/{}", "/tasks/{}/parts/0"):
        for method in ("GET", "DELETE") if path == "/tasks/{}" else ("GET",):
            headers = {**auth(2), "X-Request-Id": "the-same-id"}
            foreign = client.open(path.format(task_id), method=method, headers=headers)
            random = client.open(path.format(uuid.uuid4()), method=method, headers=headers)
            assert problem(foreign) == (404, "task_not_found")
            assert foreign.data == random.data
    assert client.get(f"/tasks/{task_id}", headers=auth()).status_code == 200


def test_a_finished_task_shows_its_parts(
    client: FlaskClient, auth: Auth, finished: tuple[str, bytes]
) -> None:
    task_id, content = finished
    task = client.get(f"/tasks/{task_id}", headers=auth()).get_json()
    assert (task["status"], task["progress"], task["parts_total"], task["parts_done"]) == (
        "done",
        100,
        1,
        1,
    )
    for moment in ("created_at", "started_at", "finished_at", "updated_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", task[moment])
    assert task["source"] == {
        **SOURCE,
        "duration_s": 20.0,
        "frame_rate": 30000 / 1001,
        "audio_codec": None,
    }
    (part,) = task["parts"]
    assert (part["number"], part["status"], part["start_s"], part["end_s"]) == (
        0,
        "done",
        0.0,
        20.0,
    )
    assert (part["size_bytes"], part["sha256"]) == (
        len(content),
        hashlib.sha256(content).hexdigest(),
    )
    with client.get(part["link"], headers=auth()) as clip:
        assert clip.data == content


def test_facts_of_another_version_are_left_out(
    client: FlaskClient, auth: Auth, database: Database
) -> None:
    task_id = post(client, auth()).get_json()["task_id"]
    database.execute("""UPDATE tasks SET source = '{"width": 16}'""")
    assert client.get(f"/tasks/{task_id}", headers=auth()).get_json()["source"] is None
    assert len(client.get("/tasks", headers=auth()).get_json()) == 1


def test_delete_of_a_finished_task_removes_its_files(
    client: FlaskClient, auth: Auth, finished: tuple[str, bytes], settings: Settings
) -> None:
    response = client.delete(f"/tasks/{finished[0]}", headers=auth())
    assert (response.status_code, response.get_json()["status"]) == (200, "deleted")
    remove_due(settings)
    assert not (settings.remote_folder / finished[0]).exists()
    assert problem(client.get(f"/tasks/{finished[0]}", headers=auth())) == (404, "task_not_found")
    assert problem(client.delete(f"/tasks/{finished[0]}", headers=auth())) == (
        404,
        "task_not_found",
    )


def test_delete_of_a_live_task(client: FlaskClient, auth: Auth) -> None:
    queued = post(client, auth()).get_json()["task_id"]
    response = client.delete(f"/tasks/{queued}", headers=auth())
    assert (response.status_code, response.get_json()) == (
        200,
        {"task_id": queued, "status": "canceled"},
    )
    existing_id = post(client, auth()).get_json()["task_id"]
    assert claims.claim_task("test", 30) is not None
    for _ in range(2):
        response = client.delete(f"/tasks/{existing_id}", headers=auth())
        assert (response.status_code, response.get_json()["status"]) == (202, "canceling")
    assert client.get(f"/tasks/{existing_id}", headers=auth()).get_json()["status"] == "canceling"


def test_failed_task_has_its_error(client: FlaskClient, auth: Auth) -> None:
    task_id = post(client, auth()).get_json()["task_id"]
    row = claims.claim_task("test", 30)
    assert row is not None
    leases.fail(row.lease, WorkFailed("source_not_a_video", "This is no video."), RetryLimits(3))
    task = client.get(f"/tasks/{task_id}", headers=auth()).get_json()
    assert task["status"] == "failed"
    assert task["error"] == {"code": "source_not_a_video", "message": "This is no video."}


def test_slashes_count_as_one(client: FlaskClient, auth: Auth) -> None:
    task_id = post(client, auth()).get_json()["task_id"]
    assert client.delete(f"/tasks//{task_id}/", headers=auth()).status_code == 200


@pytest.mark.parametrize("path", ["/tasks", "/tasks/{}"])
def test_reading_call_is_one_query(
    client: FlaskClient, auth: Auth, finished: tuple[str, bytes], path: str
) -> None:
    for _ in range(10):
        post(client, auth())
    # Reads the estimates for queued tasks, which are fresh for some seconds.
    client.get("/tasks", headers=auth())
    seen: list[str] = []

    def checkout(*_: object) -> None:
        seen.append("a connection, which `fetch_json` uses for one statement")

    def execute(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    listeners = (("checkout", checkout), ("before_cursor_execute", execute))
    for name, listener in listeners:
        event.listen(db.engine, name, listener)
    assert client.get(path.format(finished[0]), headers=auth()).status_code == 200
    for name, listener in listeners:
        event.remove(db.engine, name, listener)
    assert len(seen) == 1


def test_failed_task_can_be_retried(client: FlaskClient, auth: Auth) -> None:
    task_id = post(client, auth()).get_json()["task_id"]
    path = f"/tasks/{task_id}/retry"
    assert problem(client.post(path, headers=auth())) == (409, "not_failed")
    assert problem(client.post(path, headers=auth(2))) == (404, "task_not_found")
    claim = claims.claim_task("test", 30)
    assert claim is not None
    leases.fail(claim.lease, WorkFailed("source_not_found", "gone"), RetryLimits(3))
    response = client.post(path, headers=auth())
    assert (response.status_code, response.get_json()["status"]) == (202, "queued")
    assert response.get_json()["error"] is None
    assert response.headers["Location"] == f"/tasks/{task_id}"


def test_events_are_listed(client: FlaskClient, auth: Auth) -> None:
    task_id = post(client, auth()).get_json()["task_id"]
    claim = claims.claim_task("host:1", 30)
    assert claim is not None
    unavailable = WorkFailed("source_unavailable", "The source answered 503.", retryable=True)
    leases.fail(claim.lease, unavailable, RetryLimits(3))
    path = f"/tasks/{task_id}/events"
    accepted, retried = client.get(path, headers=auth()).get_json()
    assert (accepted["id"], accepted["kind"], accepted["worker"]) == (0, "accepted", None)
    assert (retried["kind"], retried["attempt"], retried["worker"], retried["code"]) == (
        "retried",
        1,
        "host:1",
        "source_unavailable",
    )
    assert client.get(f"{path}?after=0&max=1", headers=auth()).get_json() == [retried]
    assert client.get(f"{path}?after={retried['id']}", headers=auth()).get_json() == []
    assert problem(client.get(path, headers=auth(2))) == (404, "task_not_found")
    assert problem(client.get(f"{path}?max=1001", headers=auth())) == (400, "invalid_query")


def test_task_shows_what_it_waits_for(client: FlaskClient, auth: Auth) -> None:
    task_id = post(client, auth()).get_json()["task_id"]
    claim = claims.claim_task("test", 30)
    assert claim is not None
    unavailable = WorkFailed("source_unavailable", "busy", retryable=True, retry_after_s=60)
    leases.fail(claim.lease, unavailable, RetryLimits(3))
    shown = client.get(f"/tasks/{task_id}", headers=auth()).get_json()
    (listed,) = client.get("/tasks", headers=auth()).get_json()
    for task in (shown, listed):
        assert (task["waiting_for"], task["error"]) == ("source_unavailable", None)
        assert task["waiting_until"] > task["updated_at"]


def test_task_shows_what_its_parts_wait_for(client: FlaskClient, auth: Auth) -> None:
    task_id = processing(parts=2)
    full = WorkFailed("storage_full", "full", retryable=True)
    leases.fail(claim_part(), full, RetryLimits(3))
    shown = client.get(f"/tasks/{task_id}", headers=auth()).get_json()
    (listed,) = client.get("/tasks", headers=auth()).get_json()
    assert shown["waiting_for"] == listed["waiting_for"] == "storage_full"
    assert shown["waiting_until"] == listed["waiting_until"]
    assert shown["waiting_until"] > shown["updated_at"]
