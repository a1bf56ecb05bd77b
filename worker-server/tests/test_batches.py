"""Batches: many tasks by one request, all of them or none."""

import re
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event
from upload_testing import CONTENT, Uploads
from werkzeug.test import TestResponse

from idrl_testing.database import Database
from worker_server.app import create_app
from worker_server.db import db
from worker_server.jobs.removals import remove_due
from worker_server.jobs.sweep import delete_old_rows
from worker_server.queue import claims, leases
from worker_server.settings import Settings
from worker_testing import SOURCE, batch_items, plan, post, post_batch, problem

Auth = Callable[..., dict[str, str]]


def test_batch_makes_its_tasks_in_order(client: FlaskClient, auth: Auth) -> None:
    items = [{**item, "metadata": {"n": n}} for n, item in enumerate(batch_items(12))]
    response = post_batch(client, auth(), {"items": items, "name": "Sunday"})
    batch = response.get_json()
    assert (response.status_code, response.headers["Location"]) == (202, batch["link"])
    assert (batch["name"], batch["total"], batch["progress"], batch["eta_s"]) == (
        *("Sunday", 12, 0),
        None,
    )
    assert batch["counts"]["queued"] == 12
    assert client.get(batch["link"], headers=auth()).get_json() == batch
    path = f"/tasks?order=0&batch_id={batch['batch_id']}"
    tasks = client.get(path, headers=auth()).get_json()
    assert [task["task_id"] for task in tasks] == batch["task_ids"]
    assert [task["url"] for task in tasks] == [item["url"] for item in items]
    assert [(task["external_id"], task["metadata"]) for task in tasks] == [
        (str(n), {"n": n}) for n in range(12)
    ]
    first = claims.claim_task("me", 30)
    assert first is not None
    assert str(first.lease.task_id) == batch["task_ids"][0]


def _statements_of(app: Flask, action: Callable[[], TestResponse]) -> tuple[int, TestResponse]:
    """Return how many SQL statements the call has executed, and its response."""
    executed: list[str] = []

    def note(*arguments: Any) -> None:  # noqa: ANN401 # SQLAlchemy's six
        executed.append(arguments[2])

    with app.app_context():
        event.listen(db.engine, "before_cursor_execute", note)
        try:
            response = action()
        finally:
            event.remove(db.engine, "before_cursor_execute", note)
    return len(executed), response


def test_500_links_take_as_many_statements_as_two(
    app: Flask, client: FlaskClient, auth: Auth
) -> None:
    """What keeps 500 within a second; how long they take is measured by a benchmark."""
    bodies = [
        {"items": [{"url": f"http://example.com/{'x' * 1000}/{n}.mp4"} for n in range(count)]}
        for count in (1, 2, 500)
    ]
    headers = auth()
    # The first one prepares the query by which each is read.
    _, (few, _), (many, response) = (
        _statements_of(app, partial(post_batch, client, headers, body)) for body in bodies
    )
    assert (response.status_code, len(response.get_json()["task_ids"])) == (202, 500)
    assert many == few > 0


def test_every_wrong_item_is_named_and_none_is_accepted(
    client: FlaskClient, auth: Auth, database: Database
) -> None:
    items: list[Any] = batch_items(500)
    unknown_brand = {"brand_id": str(uuid.uuid4())}
    items[3] = {"url": "ftp://example.com/v.mp4", "callback_url": "x", "edit": unknown_brand}
    items[7] = {}
    items[8] = {"url": "http://example.com/v.mp4", "owner_id": 2}
    items[9] = 5
    items[255] = {"url": "http://10.0.0.1/v.mp4"}
    items[499] = {"url": "http://example.com/v.mp4", "external_id": 5}
    response = post_batch(client, auth(), {"items": items})
    assert problem(response) == (400, "invalid_batch")
    errors = [(error["field"], error["code"]) for error in response.get_json()["errors"]]
    assert errors == [
        ("items.3.url", "url_scheme_not_allowed"),
        ("items.7.url", "missing"),
        ("items.8.owner_id", "extra_forbidden"),
        ("items.9", "dict_type"),
        ("items.255.url", "url_private_address"),
        ("items.499.external_id", "string_type"),
    ]
    assert database.execute("SELECT (SELECT count(*) FROM tasks), count(*) FROM batches") == [
        (0, 0)
    ]


def test_uploads_that_no_task_can_get_are_named(uploads: Uploads, database: Database) -> None:
    whole, used, gone = (uploads.whole(CONTENT) for _ in range(3))
    unfinished = uploads.new().rpartition("/")[2]
    assert post_upload(uploads, used).status_code == 202
    assert uploads.client.delete(f"/uploads/{gone}", headers=uploads.headers).status_code == 204
    ids = [whole, used, gone, unfinished, str(uuid.uuid4()), whole.upper()]
    items = [*batch_items(1), *({"upload_id": upload_id} for upload_id in ids)]
    response = post_batch(uploads.client, uploads.headers, {"items": items})
    assert problem(response) == (400, "invalid_batch")
    errors = [(error["field"], error["code"]) for error in response.get_json()["errors"]]
    assert errors == [
        ("items.2.upload_id", "upload_used"),
        ("items.3.upload_id", "upload_gone"),
        ("items.4.upload_id", "upload_unfinished"),
        ("items.5.upload_id", "upload_not_found"),
        ("items.6.upload_id", "upload_used"),
    ]
    assert database.execute("SELECT (SELECT count(*) FROM tasks), count(*) FROM batches") == [
        (1, 0)
    ]
    good = post_batch(uploads.client, uploads.headers, {"items": items[:2]})
    assert good.status_code == 202


def post_upload(calls: Uploads, upload_id: str) -> TestResponse:
    return calls.client.post("/tasks", json={"upload_id": upload_id}, headers=calls.headers)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"items": []},
        {"items": batch_items(501)},
        {"items": "x"},
        {"items": {"0": {"url": "http://example.com/v.mp4"}}},
        {"items": batch_items(1), "name": ""},
        {"items": batch_items(1), "owner_id": 2},
    ],
)
def test_wrong_body_is_refused(
    client: FlaskClient, auth: Auth, database: Database, body: object
) -> None:
    assert problem(post_batch(client, auth(), body)) == (400, "invalid_body")
    assert database.execute("SELECT count(*) FROM tasks") == [(0,)]


def test_500_items_with_all_that_each_may_have_are_one_batch(
    client: FlaskClient, auth: Auth
) -> None:
    item = {
        "url": f"http://example.com/{'x' * 2028}",
        "name": "n" * 200,
        "external_id": "e" * 128,
        "metadata": {"notes": "m" * 4084},
    }
    answer = post_batch(client, auth(), {"items": [item] * 500})
    assert answer.status_code == 202, answer.get_json()
    assert answer.get_json()["total"] == 500


def test_body_over_four_mebibytes_is_refused(client: FlaskClient, auth: Auth) -> None:
    body = {"items": [{"url": f"http://example.com/{'x' * 9000}"} for _ in range(500)]}
    assert problem(post_batch(client, auth(), body)) == (413, "body_too_large")


def test_same_key_gives_the_same_batch(app: Flask, auth: Auth, database: Database) -> None:
    headers, key, body = auth(), {"Idempotency-Key": "once"}, {"items": batch_items(3)}

    def once(_: int) -> Any:  # noqa: ANN401 # JSON has no types
        response = post_batch(app.test_client(), headers, body, **key)
        assert response.status_code == 202
        return response.get_json()["task_ids"]

    with ThreadPoolExecutor(8) as pool:
        assert len({tuple(ids) for ids in pool.map(once, range(8))}) == 1
    assert database.execute("SELECT count(*) FROM tasks") == [(3,)]
    client = app.test_client()
    other = post_batch(client, headers, {"items": batch_items(2)}, **key)
    assert problem(other) == (422, "idempotency_key_reused")
    assert post_batch(client, auth(2), body, **key).status_code == 202
    database.execute("UPDATE batches SET created_at = created_at - interval '25 hours'")
    assert post_batch(client, headers, {"items": batch_items(2)}, **key).status_code == 202


def test_batch_beyond_the_quota_is_refused_whole(
    settings: Settings, auth: Auth, database: Database
) -> None:
    limited = create_app(settings.model_copy(update={"quota_live_tasks": 5}))
    client = limited.test_client()
    post(client, auth())
    assert problem(post_batch(client, auth(), {"items": batch_items(5)})) == (
        429,
        "quota_live_tasks",
    )
    assert database.execute("SELECT (SELECT count(*) FROM tasks), count(*) FROM batches") == [
        (1, 0)
    ]
    assert post_batch(client, auth(), {"items": batch_items(4)}).status_code == 202


def test_batch_that_no_wait_lets_fit_is_refused_for_good(
    settings: Settings, auth: Auth, database: Database
) -> None:
    limited = create_app(settings.model_copy(update={"quota_live_tasks": 5}))
    refused = post_batch(limited.test_client(), auth(), {"items": batch_items(6)})
    assert problem(refused) == (403, "quota_batch_too_large")
    assert "at most 5 live tasks" in refused.get_json()["detail"]
    assert (refused.headers["RateLimit-Policy"], refused.headers["RateLimit"]) == (
        '"live-tasks";q=5',
        '"live-tasks";r=5',
    )
    assert "Retry-After" not in refused.headers
    assert database.execute("SELECT count(*) FROM tasks") == [(0,)]


def test_counts_progress_and_tag_follow_the_tasks(client: FlaskClient, auth: Auth) -> None:
    batch = post_batch(client, auth(), {"items": batch_items(2)}).get_json()
    path, tags = batch["link"], set()

    def poll() -> Any:  # noqa: ANN401 # JSON has no types
        response = client.get(path, headers=auth())
        tag = response.headers["ETag"]
        again = client.get(path, headers={**auth(), "If-None-Match": tag})
        assert again.status_code == 304
        tags.add(tag)
        return response.get_json()

    assert poll()["counts"]["queued"] == 2
    claim = claims.claim_task("me", 30)
    assert claim is not None
    assert poll()["counts"]["downloading"] == 1
    leases.begin_processing(claim.lease, SOURCE, "source", plan(2))
    assert (poll()["counts"]["processing"], poll()["progress"]) == (1, 5)
    part = claims.claim_part("me", 30)
    assert part is not None
    leases.renew(part.lease, 30, 80)
    assert poll()["progress"] == 23  # half of 10 + 0.9 * 40
    client.delete(f"/tasks/{batch['task_ids'][1]}", headers=auth())
    assert (poll()["counts"]["canceled"], poll()["progress"]) == (1, 73)
    assert poll()["eta_s"] >= 0
    assert len(tags) == 5


def test_delete_of_a_batch_aborts_live_tasks_and_deletes_the_others(
    client: FlaskClient, auth: Auth, settings: Settings, database: Database
) -> None:
    batch = post_batch(client, auth(), {"items": batch_items(4)}).get_json()
    path, ids = batch["link"], batch["task_ids"]
    other = post(client, auth()).get_json()["link"]
    claim = claims.claim_task("me", 30)
    assert claim is not None
    database.execute(f"UPDATE tasks SET status = 'done' WHERE id = '{ids[1]}'")
    response = client.delete(path, headers=auth())
    assert (response.status_code, response.get_json()) == (
        202,
        {"batch_id": batch["batch_id"], "status": "canceling"},
    )
    assert client.get(f"/tasks/{ids[1]}", headers=auth()).status_code == 404
    counts = client.get(path, headers=auth()).get_json()["counts"]
    assert (counts["canceling"], counts["canceled"]) == (1, 2)
    leases.release(claim.lease)
    remove_due(settings)
    response = client.delete(path, headers=auth())
    assert (response.status_code, response.get_json()["status"]) == (200, "deleted")
    for gone in (path, *(f"/tasks/{task_id}" for task_id in ids)):
        assert client.get(gone, headers=auth()).status_code == 404
    assert client.get(other, headers=auth()).get_json()["status"] == "queued"


def test_delete_of_a_batch_that_no_worker_has_begun(client: FlaskClient, auth: Auth) -> None:
    path = post_batch(client, auth(), {"items": batch_items(2)}).get_json()["link"]
    for status in ("canceled", "deleted"):
        response = client.delete(path, headers=auth())
        assert (response.status_code, response.get_json()["status"]) == (200, status)


def test_batch_of_another_owner_does_not_exist(client: FlaskClient, auth: Auth) -> None:
    batch = post_batch(client, auth(), {"items": batch_items(2)}).get_json()
    for method in ("GET", "DELETE"):
        for link in (batch["link"], f"/batches/{uuid.uuid4()}", "/batches/1"):
            response = client.open(link, method=method, headers=auth(2))
            assert problem(response) == (404, "batch_not_found")
    others = client.get(f"/tasks?batch_id={batch['batch_id']}", headers=auth(2))
    assert others.get_json() == client.get("/batches", headers=auth(2)).get_json() == []
    assert client.get(batch["link"], headers=auth()).get_json()["counts"]["queued"] == 2


def test_pages_of_batches(client: FlaskClient, auth: Auth) -> None:
    made = [post_batch(client, auth(), {"items": batch_items(1)}).get_json() for _ in range(5)]
    target, listed = "/batches?max=2", []
    while target:
        response = client.get(target, headers=auth())
        listed += response.get_json()
        link = re.fullmatch(r'<(.+)>; rel="next"', response.headers.get("Link", ""))
        target = link[1] if link else ""
    assert [{**batch, "task_ids": None} for batch in listed] == [
        {**batch, "task_ids": None} for batch in made[::-1]
    ]
    for query in ("cursor=x", "max=0", "max=101", "order=0"):
        assert client.get(f"/batches?{query}", headers=auth()).status_code == 400
    cursor = client.get("/batches?max=2", headers=auth()).headers["Link"].split(">")[0][1:]
    assert problem(client.get(cursor, headers=auth(2))) == (400, "cursor_invalid")


def test_last_page_of_batches_has_no_link(client: FlaskClient, auth: Auth) -> None:
    for _ in range(3):
        post_batch(client, auth(), {"items": batch_items(1)})
    for query, linked in (("max=3", False), ("max=2", True), ("max=4", False)):
        response = client.get(f"/batches?{query}", headers=auth())
        assert len(response.get_json()) == min(3, int(query[-1]))
        assert ("Link" in response.headers) is linked, query


def test_tag_of_batches_changes_with_the_link(
    client: FlaskClient, auth: Auth, database: Database
) -> None:
    oldest, _ = (post_batch(client, auth(), {"items": batch_items(1)}).get_json() for _ in range(2))
    first = client.get("/batches?max=1", headers=auth())
    database.execute(f"DELETE FROM tasks WHERE batch_id = '{oldest['batch_id']}'")
    database.execute(f"DELETE FROM batches WHERE id = '{oldest['batch_id']}'")
    known = {**auth(), "If-None-Match": first.headers["ETag"]}
    second = client.get("/batches?max=1", headers=known)
    assert (second.status_code, second.headers.get("Link")) == (200, None)
    assert second.get_json()[0]["batch_id"] == first.get_json()[0]["batch_id"]


def test_empty_batches_are_deleted_after_a_day(
    client: FlaskClient, auth: Auth, settings: Settings, database: Database
) -> None:
    kept, empty = (
        post_batch(client, auth(), {"items": batch_items(1)}).get_json() for _ in range(2)
    )
    database.execute(f"DELETE FROM tasks WHERE batch_id = '{empty['batch_id']}'")
    delete_old_rows(settings)
    shown = client.get(empty["link"], headers=auth()).get_json()
    assert (shown["total"], shown["progress"], shown["task_ids"]) == (0, 100, [])
    database.execute("UPDATE batches SET created_at = created_at - interval '25 hours'")
    delete_old_rows(settings)
    assert client.get(empty["link"], headers=auth()).status_code == 404
    assert client.get(kept["link"], headers=auth()).status_code == 200


def test_planned_tasks_of_a_batch(client: FlaskClient, auth: Auth) -> None:
    items = [{**item, "start": "manual"} for item in batch_items(2)]
    batch = post_batch(client, auth(), {"items": items}).get_json()
    claim = claims.claim_task("me", 30)
    assert claim is not None
    assert leases.begin_processing(claim.lease, SOURCE, "source", plan(2))
    seen = client.get(batch["link"], headers=auth()).get_json()
    assert (seen["counts"]["planned"], seen["counts"]["queued"], seen["progress"]) == (1, 1, 5)
