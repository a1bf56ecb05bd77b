"""An account has no more live tasks, bytes of clips and seconds a day than it may have."""

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from werkzeug.test import TestResponse

from idrl_testing.database import Database
from worker_server.app import create_app
from worker_server.db import db, transaction
from worker_server.errors import WorkFailed
from worker_server.jobs.fetch import fetch_next
from worker_server.jobs.runtime import Runtime
from worker_server.models import Brand
from worker_server.queue import leases, planning, submissions, usage
from worker_server.queue.quotas import Quotas
from worker_server.queue.requeueing import retry_task
from worker_server.queue.submissions import Submission
from worker_server.queue.uploads import source_url
from worker_server.settings import Settings
from worker_testing import (
    SOURCE,
    URL,
    claim_task,
    finished_part,
    plan,
    post,
    problem,
    processing,
    submit,
    task_of,
)

Auth = Callable[..., dict[str, str]]
NO_QUOTAS = Quotas()


@pytest.fixture
def limited(settings: Settings) -> Flask:
    """The tasks service with three live tasks and 1,000 bytes for each account."""
    return create_app(settings.model_copy(update={"quota_live_tasks": 3, "quota_bytes": 1000}))


def own_quotas(database: Database, user_id: int, quotas: str) -> None:
    """Give the account quotas of its own, as `users set-quota` does."""
    database.execute(
        "INSERT INTO users (id, username, email, password_hash, quotas) OVERRIDING SYSTEM VALUE"
        f" VALUES ({user_id}, 'u{user_id}', 'u{user_id}@example.com', '', '{quotas}')"
    )


def rate_limits(response: TestResponse) -> tuple[str | None, str | None]:
    return response.headers.get("RateLimit-Policy"), response.headers.get("RateLimit")


def _failed(database: Database, count: int) -> list[str]:
    """Return the links of this many failed tasks of user 1."""
    made = [submit() for _ in range(count)]
    database.execute("UPDATE tasks SET status = 'failed', finished_at = now()")
    return [f"/tasks/{task_id}/retry" for task_id in made]


def test_retries_count_as_live_tasks(limited: Flask, auth: Auth, database: Database) -> None:
    client = limited.test_client()
    with limited.app_context():
        links = _failed(database, 4)
    assert [client.post(link, headers=auth()).status_code for link in links[:3]] == [202] * 3
    refused = client.post(links[3], headers=auth())
    assert problem(refused) == (429, "quota_live_tasks")
    assert rate_limits(refused) == ('"live-tasks";q=3', '"live-tasks";r=0')
    task = client.get(links[3].removesuffix("/retry"), headers=auth()).get_json()
    assert task["status"] == "failed"
    assert client.delete(links[0].removesuffix("/retry"), headers=auth()).status_code == 200
    assert client.post(links[3], headers=auth()).status_code == 202


def test_retry_needs_space_for_its_clips(
    settings: Settings, auth: Auth, database: Database
) -> None:
    """Also where nothing else is limited."""
    app = create_app(settings.model_copy(update={"quota_bytes": 1000}))
    client = app.test_client()
    with app.app_context():
        (link,) = _failed(database, 1)
        processing(1)
        finished_part(1000)
    assert problem(client.post(link, headers=auth())) == (403, "quota_bytes")


def test_fourth_live_task_is_refused_until_one_has_ended(
    limited: Flask, auth: Auth, database: Database
) -> None:
    client = limited.test_client()
    accepted = [post(client, auth()).get_json()["task_id"] for _ in range(3)]
    refused = post(client, auth())
    assert problem(refused) == (429, "quota_live_tasks")
    assert refused.headers["RateLimit-Policy"] == '"live-tasks";q=3'
    assert refused.headers["RateLimit"] == '"live-tasks";r=0'
    assert refused.headers["Retry-After"] == "30"
    assert database.execute("SELECT count(*) FROM tasks") == [(3,)]
    client.delete(f"/tasks/{accepted[0]}", headers=auth())
    assert post(client, auth()).status_code == 202


def test_refusal_has_the_rest_of_the_limit(limited: Flask, auth: Auth) -> None:
    client = limited.test_client()
    post(client, auth())
    items = [{"url": "https://media.example.com/talk.mp4"}]
    refused = client.post("/batches", json={"items": items * 3}, headers=auth())
    assert problem(refused) == (429, "quota_live_tasks")
    assert rate_limits(refused) == ('"live-tasks";q=3', '"live-tasks";r=2')
    assert client.post("/batches", json={"items": items * 2}, headers=auth()).status_code == 202
    tus = {**auth(), "Tus-Resumable": "1.0.0"}
    assert client.post("/uploads", headers={**tus, "Upload-Length": "600"}).status_code == 201
    refused = client.post("/uploads", headers={**tus, "Upload-Length": "401"})
    assert problem(refused) == (403, "quota_bytes")
    assert rate_limits(refused) == ('"clip-bytes";q=1000', '"clip-bytes";r=400')
    assert client.post("/uploads", headers={**tus, "Upload-Length": "400"}).status_code == 201


def test_repeated_request_is_not_refused(limited: Flask, auth: Auth) -> None:
    client = limited.test_client()
    first, *_ = [post(client, auth(), **{"Idempotency-Key": str(number)}) for number in range(3)]
    again = post(client, auth(), **{"Idempotency-Key": "0"})
    assert again.get_json()["task_id"] == first.get_json()["task_id"]


def test_parallel_requests_do_not_exceed_the_quota(
    limited: Flask, auth: Auth, database: Database
) -> None:
    def submit(_: int) -> int:
        return post(limited.test_client(), auth()).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(submit, range(24)))
    assert statuses == [202] * 3 + [429] * 21
    assert database.execute("SELECT count(*) FROM tasks") == [(3,)]


def test_full_quota_of_bytes_is_refused(limited: Flask, auth: Auth, database: Database) -> None:
    client = limited.test_client()
    task_id = uuid.UUID(post(client, auth()).get_json()["task_id"])
    database.execute(
        "INSERT INTO parts (task_id, number, owner_id, start_frame, end_frame, start_s, end_s,"
        f" size_bytes) SELECT '{task_id}', 0, owner_id, 0, 1, 0, 1, 1000 FROM tasks"
    )
    assert problem(post(client, auth())) == (403, "quota_bytes")


def _planned(size_bytes: int, quotas: Quotas = NO_QUOTAS) -> uuid.UUID:
    """Return a planned task with a source of this size."""
    accepted = submissions.create_task(Submission(1, URL, starts_manually=True))
    source = {**SOURCE, "size_bytes": size_bytes}
    assert leases.begin_processing(claim_task(), source, "source", plan(1), quotas)
    return accepted.task.id


@pytest.mark.usefixtures("app")
def test_sources_of_planned_tasks_take_space(limited: Flask, auth: Auth) -> None:
    client = limited.test_client()
    task_id = _planned(1000)
    assert client.get("/usage", headers=auth()).get_json()["sources_bytes"] == 1000
    assert client.get("/usage", headers=auth(2)).get_json()["sources_bytes"] == 0
    assert post(client, auth(2)).status_code == 202
    assert problem(post(client, auth())) == (403, "quota_bytes")
    upload = {"Tus-Resumable": "1.0.0", "Upload-Length": "1"}
    refused = client.post("/uploads", headers={**auth(), **upload})
    assert problem(refused) == (403, "quota_bytes")
    assert client.post(f"/tasks/{task_id}/start", headers=auth()).status_code == 202
    assert client.get("/usage", headers=auth()).get_json()["sources_bytes"] == 0
    assert post(client, auth()).status_code == 202


@pytest.mark.usefixtures("app")
def test_source_that_is_kept_without_space_for_it_fails_its_task() -> None:
    """The tasks were accepted together, when nothing was kept yet."""
    quotas = Quotas(size_bytes=1200)
    for _ in range(2):
        _planned(600, quotas)
    with pytest.raises(WorkFailed) as refused:
        _planned(1, quotas)
    assert refused.value.code == "quota_bytes"
    assert _kept_sources() == 1200


@pytest.mark.usefixtures("app")
def test_planning_again_needs_no_more_space() -> None:
    task_id = _planned(600, Quotas(size_bytes=1000))
    processing(1)
    finished_part(900)
    with transaction() as session:
        planning.change_edit(session, task_id, lambda _, __: ({}, 0), Quotas(size_bytes=1000))
    source = {**SOURCE, "size_bytes": 600}
    again = claim_task()
    assert leases.begin_processing(again, source, "source", plan(2), Quotas(size_bytes=1000))
    assert task_of(task_id).status == "planned"


@pytest.mark.usefixtures("app")
def test_upload_of_a_planned_task_is_counted_once() -> None:
    accepted = submissions.create_task(Submission(1, URL, starts_manually=True))
    db.session.execute(text(f"UPDATE tasks SET url = '{source_url(uuid.uuid4())}'"))
    db.session.commit()
    source = {**SOURCE, "size_bytes": 600}
    assert leases.begin_processing(claim_task(), source, "source", plan(1))
    assert task_of(accepted.task.id).status == "planned"
    assert _kept_sources() == 0


def _kept_sources() -> int:
    with transaction() as session:
        return usage.sum_source_bytes(session, 1)


@pytest.mark.usefixtures("app")
def test_brands_take_space_as_long_as_a_task_may_need_them(
    limited: Flask, auth: Auth, database: Database
) -> None:
    client = limited.test_client()

    def used_bytes() -> int:
        return int(client.get("/usage", headers=auth()).get_json()["brands_bytes"])

    with transaction() as session:
        brand = Brand(owner_id=1, name="Race", spec={}, files=[], size_bytes=1000)
        session.add(brand)
        session.flush()
        link = f"/brands/{brand.id}"
    assert used_bytes() == 1000
    assert problem(post(client, auth())) == (403, "quota_bytes")
    refused = client.post("/brands", headers=auth(), data={"name": "Another"})
    assert problem(refused) == (403, "quota_bytes")
    task_id = submit()
    named = "jsonb_build_object('brand_id', (SELECT id FROM brands))"
    database.execute(f"UPDATE tasks SET edit = {named}")
    assert client.delete(link, headers=auth()).status_code == 204
    assert used_bytes() == 1000
    database.execute(f"UPDATE tasks SET status = 'done' WHERE id = '{task_id}'")
    assert used_bytes() == 0
    assert post(client, auth()).status_code == 202


def test_there_is_no_quota_by_default(settings: Settings, auth: Auth) -> None:
    client = create_app(settings).test_client()
    assert {post(client, auth()).status_code for _ in range(20)} == {202}


def test_responses_have_rate_limit_headers(limited: Flask, auth: Auth) -> None:
    client = limited.test_client()
    left = [rate_limits(post(client, auth())) for _ in range(3)]
    assert [policy for policy, _ in left] == ['"live-tasks";q=3, "clip-bytes";q=1000'] * 3
    assert [rest for _, rest in left] == [
        f'"live-tasks";r={tasks}, "clip-bytes";r=1000' for tasks in (2, 1, 0)
    ]


def test_one_account_has_quotas_of_its_own(limited: Flask, auth: Auth, database: Database) -> None:
    client = limited.test_client()
    own_quotas(database, 2, '{"live_tasks": 1}')
    own_quotas(database, 3, '{"live_tasks": 0, "size_bytes": 0}')
    statuses = {
        user: [post(client, auth(user)).status_code for _ in range(4)] for user in (1, 2, 3)
    }
    assert statuses == {1: [202, 202, 202, 429], 2: [202, 429, 429, 429], 3: [202] * 4}
    assert rate_limits(post(client, auth(3))) == (None, None)
    database.execute("UPDATE users SET quotas = NULL WHERE id = 2")
    assert post(client, auth(2)).status_code == 202


@pytest.mark.usefixtures("app")
def test_planned_seconds_count_even_after_the_task_is_deleted(
    settings: Settings, auth: Auth, database: Database
) -> None:
    minute = settings.model_copy(update={"quota_source_seconds_per_day": 60})
    client = create_app(minute).test_client()
    assert post(client, auth()).headers["RateLimit"].startswith('"source-seconds";r=60;t=')
    task_id = processing(parts=2)  # 40 s, of the first task
    submit(owner_id=2)
    leases.begin_processing(claim_task(), SOURCE, "source", plan(2))
    client.delete(f"/tasks/{task_id}", headers=auth())
    accepted = post(client, auth())
    assert accepted.headers["RateLimit-Policy"] == '"source-seconds";q=60;w=86400'
    assert accepted.headers["RateLimit"].startswith('"source-seconds";r=20;t=')
    database.execute("UPDATE usage_days SET planned_s = 60 WHERE owner_id = 1")
    refused = post(client, auth())
    assert problem(refused) == (429, "quota_source_seconds")
    assert 0 < int(refused.headers["Retry-After"]) <= 86_400
    assert post(client, auth(2)).status_code == 202
    database.execute("UPDATE usage_days SET day = day - 1")
    assert post(client, auth()).status_code == 202


@pytest.mark.usefixtures("app")
def test_source_longer_than_the_rest_of_the_day_fails_the_task_alone() -> None:
    quotas = Quotas(source_seconds_per_day=60)
    ids = [submit() for _ in range(3)]
    first, second, third = (claim_task() for _ in ids)
    assert leases.begin_processing(first, SOURCE, "source", plan(2), quotas)
    with pytest.raises(WorkFailed) as refused:
        leases.begin_processing(second, SOURCE, "source", plan(2), quotas)
    assert refused.value.code == "quota_source_seconds"
    assert task_of(ids[1]).status == "downloading"  # nothing of it was written
    assert leases.begin_processing(third, SOURCE, "source", plan(1), quotas)
    submit(owner_id=2)
    assert leases.begin_processing(claim_task(), SOURCE, "source", plan(3), quotas)


@pytest.mark.usefixtures("app")
def test_retry_of_a_counted_task_is_not_counted_again(database: Database) -> None:
    task_id = processing(parts=2)
    database.execute("UPDATE tasks SET status = 'failed'")
    assert retry_task(1, task_id)
    assert leases.begin_processing(claim_task(), SOURCE, "source", plan(2))
    assert database.execute("SELECT planned_s FROM usage_days") == [(40,)]


@pytest.mark.usefixtures("app")
def test_change_of_an_edit_beyond_the_days_seconds_leaves_the_plan(
    settings: Settings,
    site: str,
    sample: Callable[..., str],
    database: Database,
    runtime: Runtime,
    client: FlaskClient,
    auth: Auth,
) -> None:
    own_quotas(database, 1, '{"source_seconds_per_day": 5}')
    body = {"url": f"{site}/{sample(4)}", "start": "manual"}
    link = client.post("/tasks", json=body, headers=auth()).get_json()["link"]
    assert fetch_next(settings, runtime)

    def change(*ends_s: int) -> TestResponse:
        segments = [{"start_s": 0, "end_s": end_s} for end_s in ends_s]
        return client.patch(link, json={"edit": {"segments": segments}}, headers=auth())

    # Four seconds are counted, so one more is left.
    assert problem(change(4, 2)) == (429, "quota_source_seconds")
    assert client.get(link, headers=auth()).get_json()["status"] == "planned"
    assert change(4, 1).status_code == 200
    assert fetch_next(settings, runtime)
    assert client.get(link, headers=auth()).get_json()["status"] == "planned"
    assert database.execute("SELECT planned_s FROM usage_days") == [(5,)]


def test_fetch_worker_obeys_the_quota_of_the_account(
    settings: Settings, site: str, sample: Callable[..., str], database: Database, runtime: Runtime
) -> None:
    own_quotas(database, 1, '{"source_seconds_per_day": 1}')
    task_id = submit(f"{site}/{sample(2)}")
    assert fetch_next(settings, runtime)
    task = task_of(task_id)
    assert (task.status, task.error_code) == ("failed", "quota_source_seconds")
    assert not list((settings.remote_folder / str(task_id)).glob("*"))


@pytest.mark.usefixtures("app")
def test_usage(limited: Flask, auth: Auth, database: Database) -> None:
    client = limited.test_client()
    own_quotas(database, 1, '{"source_seconds_per_day": 3600}')
    before = client.get("/usage", headers=auth()).get_json()
    ends_in_s = before.pop("today_ends_in_s")
    assert 0 < ends_in_s <= 86_400
    if ends_in_s < 10:  # else what is made below may be counted on two days
        time.sleep(ends_in_s + 1)
    assert before == {
        "live_tasks": 0,
        "live_tasks_limit": 3,
        "clips_bytes": 0,
        "uploads_bytes": 0,
        "sources_bytes": 0,
        "brands_bytes": 0,
        "clips_bytes_limit": 1000,
        "source_s_today": 0,
        "source_s_today_limit": 3600,
        "rendered_s_this_month": 0,
    }
    processing(parts=3)
    finished_part(size_bytes=77)
    submit()
    submit(owner_id=2)
    database.execute(
        "INSERT INTO usage_days (owner_id, day, rendered_s) VALUES"
        " (1, date_trunc('month', now() AT TIME ZONE 'UTC')::date - 1, 5000)"
    )
    now = client.get("/usage", headers=auth()).get_json()
    assert (now["live_tasks"], now["clips_bytes"]) == (2, 77)
    assert (now["source_s_today"], now["rendered_s_this_month"]) == (60, 20)
    others = client.get("/usage", headers=auth(2)).get_json()
    assert (others["live_tasks"], others["clips_bytes"], others["source_s_today_limit"]) == (
        1,
        0,
        None,
    )
