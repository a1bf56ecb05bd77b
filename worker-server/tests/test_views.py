"""The `/tasks` calls over HTTP, on the real database."""

import hashlib
import re
import socket
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event
from werkzeug.test import TestResponse

from idrl_testing.database import Database
from worker_server.app import create_app
from worker_server.db import db
from worker_server.errors import WorkFailed
from worker_server.jobs.removing import remove_due
from worker_server.media import SandboxReport
from worker_server.queue import claims, leases, signs
from worker_server.queue.retrying import RetryLimits
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


def test_a_task_is_accepted_while_redis_is_away(settings: Settings, auth: Auth) -> None:
    app = create_app(settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))
    assert post(app.test_client(), auth()).status_code == 202
    ready = app.test_client().get("/ready")
    assert (ready.status_code, ready.get_json()["status"]) == (200, "degraded")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"url": ""}, "invalid_body"),
        ({"url": None}, "invalid_body"),
        ({"url": 5}, "invalid_body"),
        ({"url": ["http://example.com"]}, "invalid_body"),
        ({}, "invalid_body"),
        ({"url": URL, "status": "done", "owner_id": 2}, "invalid_body"),
        ({"url": "http://example.com/\x00"}, "invalid_body"),
        ([], "invalid_body"),
        ({"url": "example.com/v.mp4"}, "url_invalid"),
        ({"url": "http://example.com/" + "a" * 3000}, "url_too_long"),
        ({"url": "file:///etc/passwd"}, "url_scheme_not_allowed"),
        ({"url": "ftp://example.com/v.mp4"}, "url_scheme_not_allowed"),
        ({"url": "http://me:secret@example.com/v.mp4"}, "url_credentials_not_allowed"),
        ({"url": "http://example.com:22/v.mp4"}, "url_port_not_allowed"),
        ({"url": "http://10.0.0.1/v.mp4"}, "url_private_address"),
        ({"url": "http://[::1]/v.mp4"}, "url_private_address"),
        ({"url": "http://0x7f.2/v.mp4"}, "url_private_address"),
        ({"url": "http://localhost/v.mp4"}, "url_private_address"),
    ],
)
def test_a_bad_task_is_refused(
    client: FlaskClient, auth: Auth, database: Database, body: object, code: str
) -> None:
    assert problem(client.post("/tasks", json=body, headers=auth())) == (400, code)
    assert database.execute("SELECT count(*) FROM tasks") == [(0,)]


@pytest.mark.parametrize(
    "body",
    [
        b'{"url": "x",}',
        b"{",
        b"",
        b"\xff\xfe",
        b"[" * 16_000,
        b'{"a":' + b"1" * 5000 + b"}",
        b'{"url": "\\ud800"}',
    ],
)
def test_malformed_json_is_refused(client: FlaskClient, auth: Auth, body: bytes) -> None:
    response = client.post("/tasks", data=body, content_type="application/json", headers=auth())
    assert problem(response) == (400, "malformed_json")


def test_another_content_type_is_refused(client: FlaskClient, auth: Auth) -> None:
    response = client.post("/tasks", data=b"url=x", content_type="text/plain", headers=auth())
    assert problem(response) == (415, "unsupported_media_type")


def test_a_body_over_16_kib_is_refused(client: FlaskClient, auth: Auth) -> None:
    response = client.post(
        "/tasks", data=b"x" * (16 * 1024 + 1), content_type="application/json", headers=auth()
    )
    assert problem(response) == (413, "body_too_large")


def test_open_endpoints_are_few(app: Flask) -> None:
    """Every other route of the app, now and later, answers 401 without a token."""
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "0", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            response = app.test_client().open(path, method=method)
            is_open = path in {"/health", "/ready", "/metrics"}
            assert (response.status_code == 401) != is_open, path


@pytest.mark.parametrize(("method", "path"), [("POST", "/tasks"), ("GET", "/tasks/x")])
def test_a_token_is_checked(
    client: FlaskClient, token: Callable[..., str], method: str, path: str
) -> None:
    def call(authorization: str | None) -> TestResponse:
        headers = {"Authorization": authorization} if authorization is not None else {}
        return client.open(path, method=method, headers=headers)

    for missing in (None, "", "Bearer", "Basic eDp5"):
        assert problem(call(missing)) == (401, "token_missing")
    for bad in (
        "garbage",
        token(aud="other"),
        token(iss="other"),
        token(exp=None),
        token(user_id="1"),
        token(sub="2"),
    ):
        response = call(f"Bearer {bad}")
        assert problem(response) == (401, "token_invalid")
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert problem(call(f"Bearer {token(exp=1)}")) == (401, "token_expired")


def test_a_new_task_is_told_alike_by_every_call(client: FlaskClient, auth: Auth) -> None:
    accepted = post(client, auth()).get_json()
    shown = client.get(f"/tasks/{accepted['task_id']}", headers=auth()).get_json()
    (listed,) = client.get("/tasks", headers=auth()).get_json()
    assert list(shown) == [*accepted, "parts"]
    assert {**accepted, "parts": []} == shown
    assert listed == accepted
    assert list(listed) == list(accepted)


def test_the_list_is_mine_in_order(client: FlaskClient, auth: Auth) -> None:
    assert client.get("/tasks", headers=auth()).get_json() == []
    ids = [post(client, auth()).get_json()["task_id"] for _ in range(5)]
    post(client, auth(2))

    def listed(query: str) -> list[str]:
        return [task["task_id"] for task in client.get(f"/tasks{query}", headers=auth()).get_json()]

    assert listed("?order=0") == ids
    assert listed("?order=1") == listed("") == ids[::-1]
    assert listed("?max=2&order=0") == ids[:2]
    assert listed("?max=1000") == ids[::-1]


@pytest.mark.parametrize(
    "query",
    ["max=0", "max=-1", "max=abc", "max=1000000000", "max=", "order=2", "order=x", "page=1"],
)
def test_a_bad_query_is_refused(client: FlaskClient, auth: Auth, query: str) -> None:
    response = client.get(f"/tasks?{query}", headers=auth())
    assert problem(response) == (400, "invalid_query")
    assert response.get_json()["errors"][0]["field"] == query.partition("=")[0]


def test_a_get_may_say_that_it_sends_json(client: FlaskClient, auth: Auth) -> None:
    assert (
        client.get("/tasks", headers={**auth(), "Content-Type": "application/json"}).status_code
        == 200
    )


def test_somebody_elses_task_does_not_exist(
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


@pytest.mark.parametrize(
    "task_id", ["1", "abc", "../../etc", "' OR 1=1", "%00", "00000000-0000-0000-0000-00000000000g"]
)
def test_an_id_that_is_no_uuid_does_not_exist(
    client: FlaskClient, auth: Auth, task_id: str
) -> None:
    assert client.get(f"/tasks/{task_id}", headers=auth()).status_code == 404


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
    held = post(client, auth()).get_json()["task_id"]
    assert claims.claim_task("test", 30) is not None
    for _ in range(2):
        response = client.delete(f"/tasks/{held}", headers=auth())
        assert (response.status_code, response.get_json()["status"]) == (202, "canceling")
    assert client.get(f"/tasks/{held}", headers=auth()).get_json()["status"] == "canceling"


def test_a_failed_task_says_why(client: FlaskClient, auth: Auth) -> None:
    task_id = post(client, auth()).get_json()["task_id"]
    row = claims.claim_task("test", 30)
    assert row is not None
    leases.fail(row.lease, WorkFailed("source_not_a_video", "This is no video."), RetryLimits(3))
    task = client.get(f"/tasks/{task_id}", headers=auth()).get_json()
    assert task["status"] == "failed"
    assert task["error"] == {"code": "source_not_a_video", "message": "This is no video."}


def test_the_same_key_gives_the_same_task(client: FlaskClient, auth: Auth) -> None:
    key = {"Idempotency-Key": "once"}
    first = post(client, auth(), **key)
    again = post(client, auth(), **key)
    assert (again.status_code, again.get_json()["task_id"]) == (202, first.get_json()["task_id"])
    assert problem(post(client, auth(), URL + "?other", **key)) == (422, "idempotency_key_reused")
    assert post(client, auth(2), **key).get_json()["task_id"] != first.get_json()["task_id"]


def test_a_key_is_forgotten_after_a_day(
    client: FlaskClient, auth: Auth, database: Database
) -> None:
    key = {"Idempotency-Key": "once"}
    first = post(client, auth(), **key).get_json()["task_id"]
    database.execute("UPDATE tasks SET created_at = created_at - interval '25 hours'")
    assert post(client, auth(), **key).get_json()["task_id"] != first


def test_one_key_ten_times_at_once_makes_one_task(
    app: Flask, auth: Auth, database: Database
) -> None:
    headers = auth()

    def once(_: int) -> str:
        response = post(app.test_client(), headers, **{"Idempotency-Key": "once"})
        assert response.status_code == 202
        task_id: str = response.get_json()["task_id"]
        return task_id

    with ThreadPoolExecutor(10) as pool:
        assert len(set(pool.map(once, range(10)))) == 1
    assert database.execute("SELECT count(*) FROM tasks") == [(1,)]


@pytest.mark.parametrize("key", ["", "k" * 256, "caf\u00e9"])
def test_a_bad_key_is_refused(client: FlaskClient, auth: Auth, key: str) -> None:
    assert problem(post(client, auth(), **{"Idempotency-Key": key})) == (
        400,
        "idempotency_key_invalid",
    )


def test_slashes_count_as_one(client: FlaskClient, auth: Auth) -> None:
    task_id = post(client, auth()).get_json()["task_id"]
    assert client.delete(f"/tasks//{task_id}/", headers=auth()).status_code == 200


def test_unknown_paths_and_methods(client: FlaskClient, auth: Auth) -> None:
    assert problem(client.get("/nothing", headers=auth())) == (404, "not_found")
    assert problem(client.get("/tasks/x/parts/one", headers=auth())) == (404, "not_found")
    response = client.put("/tasks", headers=auth())
    assert problem(response) == (405, "method_not_allowed")
    assert {"GET", "POST"} <= set(response.headers["Allow"].split(", "))


def test_a_database_that_is_away_is_said_so(settings: Settings, auth: Auth) -> None:
    client = create_app(settings.model_copy(update={"postgres_port": 1})).test_client()
    response = client.get("/tasks", headers=auth())
    assert problem(response) == (503, "database_unavailable")
    assert response.headers["Retry-After"]
    assert problem(post(client, auth())) == (503, "database_unavailable")
    assert client.get("/ready").status_code == 503
    assert client.get("/health").status_code == 200


def alive() -> None:
    """Workers of each kind and a sweeper give signs of life."""
    for kind in ("fetch", "render"):
        signs.beat(f"{kind}:1", [kind])
    for step in ("leases", "wakeups", "files"):
        signs.note_step(step, "sweeper:1", None)


def test_status_pages(client: FlaskClient, auth: Auth, share: Path) -> None:
    post(client, auth())
    alive()
    assert client.get("/health").get_json()["status"] == "ok"
    assert client.get("/ready").get_json()["status"] == "ready"
    assert b'idrl_work{kind="task",status="queued"} 1.0' in client.get("/metrics").data
    assert b'idrl_sandbox{level="landlock-' in client.get("/metrics").data
    (share / ".idrl-share").unlink()
    assert client.get("/ready").get_json()["checks"]["share"]["ok"] is False


def test_a_machine_without_a_sandbox_is_degraded(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("app", "readiness"):
        name = f"worker_server.{module}.sandbox_report"
        monkeypatch.setattr(name, lambda: SandboxReport(0, (), ("all",)))
    ready = client.get("/ready")
    assert (ready.status_code, ready.get_json()["status"]) == (200, "degraded")
    assert ready.get_json()["checks"]["sandbox"] == {"ok": False, "detail": "NoSandbox"}
    assert b'idrl_sandbox{level="none"} 1.0' in client.get("/metrics").data


@pytest.mark.parametrize("path", ["/tasks", "/tasks/{}"])
def test_reading_call_is_one_query(
    client: FlaskClient, auth: Auth, finished: tuple[str, bytes], path: str
) -> None:
    for _ in range(10):
        post(client, auth())
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


def test_events_tell_what_happened(client: FlaskClient, auth: Auth) -> None:
    task_id = post(client, auth()).get_json()["task_id"]
    claim = claims.claim_task("host:1", 30)
    assert claim is not None
    away = WorkFailed("source_unavailable", "The source answered 503.", retryable=True)
    leases.fail(claim.lease, away, RetryLimits(3))
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


def test_task_says_what_it_waits_for(client: FlaskClient, auth: Auth) -> None:
    task_id = post(client, auth()).get_json()["task_id"]
    claim = claims.claim_task("test", 30)
    assert claim is not None
    away = WorkFailed("source_unavailable", "busy", retryable=True, retry_after_s=60)
    leases.fail(claim.lease, away, RetryLimits(3))
    shown = client.get(f"/tasks/{task_id}", headers=auth()).get_json()
    (listed,) = client.get("/tasks", headers=auth()).get_json()
    for task in (shown, listed):
        assert (task["waiting_for"], task["error"]) == ("source_unavailable", None)
        assert task["waiting_until"] > task["updated_at"]


def test_task_says_what_its_parts_wait_for(client: FlaskClient, auth: Auth) -> None:
    task_id = processing(parts=2)
    full = WorkFailed("storage_full", "full", retryable=True)
    leases.fail(claim_part(), full, RetryLimits(3))
    shown = client.get(f"/tasks/{task_id}", headers=auth()).get_json()
    (listed,) = client.get("/tasks", headers=auth()).get_json()
    assert shown["waiting_for"] == listed["waiting_for"] == "storage_full"
    assert shown["waiting_until"] == listed["waiting_until"]
    assert shown["waiting_until"] > shown["updated_at"]


def test_deleted_tasks_key_makes_a_new_task(app: Flask, auth: Auth) -> None:
    """POST with one key and DELETE of its task, at once and again and again: never a 500."""
    headers = auth()

    def once(n: int) -> int:
        client = app.test_client()
        response = post(client, headers, **{"Idempotency-Key": "once"})
        if n % 2 and response.status_code == 202:
            task_id = response.get_json()["task_id"]
            for _ in range(2):  # abort, then forget
                client.delete(f"/tasks/{task_id}", headers=headers)
        return response.status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(once, range(80))) == {202}


@pytest.mark.parametrize(
    ("statement", "check", "detail"),
    [
        (
            "UPDATE workers SET seen_at = now() - interval '20 s' WHERE name = 'fetch:1'",
            "fetch_worker",
            "NoLiveWorker",
        ),
        ("DELETE FROM workers WHERE name = 'render:1'", "render_worker", "NoLiveWorker"),
        ("UPDATE sweeps SET done_at = now() - interval '60 s'", "sweeper", "SweeperLate"),
        ("UPDATE workers SET fault_code = 'internal_error'", "faults", "WorkerFault"),
    ],
)
def test_ready_names_what_is_missing(
    client: FlaskClient, database: Database, statement: str, check: str, detail: str
) -> None:
    alive()
    assert client.get("/ready").get_json()["status"] == "ready"
    database.execute(statement)
    answer = client.get("/ready").get_json()
    assert answer["status"] == "degraded"
    failed = {name: result for name, result in answer["checks"].items() if not result["ok"]}
    assert failed == {check: {"ok": False, "detail": detail}}


@pytest.mark.usefixtures("app")
def test_full_share_is_said_and_refuses_new_tasks(settings: Settings, auth: Auth) -> None:
    waiting = post(create_app(settings).test_client(), auth()).get_json()["task_id"]
    full = settings.model_copy(update={"storage_reserve_bytes": 2**62})
    client = create_app(full).test_client()
    alive()
    checks = client.get("/ready").get_json()["checks"]
    assert checks["share"]["ok"]
    assert checks["share_space"] == {"ok": False, "detail": "ShareFull"}
    response = post(client, auth())
    assert problem(response) == (503, "storage_full")
    assert response.headers["Retry-After"]
    assert (
        client.get(f"/tasks/{waiting}", headers=auth()).get_json()["waiting_for"] == "storage_full"
    )


def test_hanging_redis_holds_up_no_post(settings: Settings, auth: Auth) -> None:
    with socket.create_server(
        ("127.0.0.1", 0), backlog=50
    ) as server:  # takes connections, never answers
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        client = create_app(settings.model_copy(update={"redis_url": url})).test_client()
        begun = time.monotonic()
        assert {post(client, auth()).status_code for _ in range(5)} == {202}
        assert time.monotonic() - begun < 2  # one send waits for 2 s by itself


def test_metrics_tell_of_workers_sweeper_and_share(client: FlaskClient) -> None:
    alive()
    text = client.get("/metrics").data.decode()
    assert 'idrl_workers{kind="fetch"} 1.0' in text
    assert 'idrl_last_sweep_timestamp_seconds{step="leases"}' in text
    assert 'idrl_queue_oldest_seconds{kind="render"} 0.0' in text
    assert re.search(r"^idrl_share_free_bytes [0-9.e+]+$", text, re.MULTILINE)
