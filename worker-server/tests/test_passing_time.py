"""What ends by time ends at that time: the database's clock is moved to it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from upload_testing import CONTENT, Uploads, file_of

from idrl_testing.database import Database
from worker_server import sweeper
from worker_server.app import create_app
from worker_server.jobs import sweep
from worker_server.jobs.runtime import SweepClock
from worker_server.jobs.uploads import remove_orphaned_uploads, remove_unneeded_uploads
from worker_server.models.statuses import PartStatus
from worker_server.queue import claims, leases, removals, retention, submissions, webhooks, workers
from worker_server.queue.claims import PartLease
from worker_server.queue.submissions import Submission
from worker_server.settings import Settings
from worker_testing import (
    SOURCE,
    claim_part,
    claim_task,
    finished_part,
    part_of,
    plan,
    post,
    problem,
    processing,
    submit,
)

Auth = Callable[..., dict[str, str]]
SetClock = Callable[[datetime], None]
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
# The day is UTC's, whatever zone the database's sessions are in.
ZONES = ("UTC", "Pacific/Kiritimati", "Pacific/Honolulu")


@pytest.fixture
def set_clock(database: Database) -> Iterator[SetClock]:
    """Makes `now()` of the service's statements that time; it stands still there.

    Defaults of columns keep the true time. Sessions that begin later look up `now` here first.
    """
    database.execute(
        "CREATE SCHEMA clock; CREATE TABLE clock.face AS SELECT now() AS at;"
        " CREATE FUNCTION clock.now() RETURNS timestamptz LANGUAGE sql STABLE"
        " AS 'SELECT at FROM clock.face';"
        " GRANT USAGE ON SCHEMA clock TO worker; GRANT SELECT ON clock.face TO worker;"
        " ALTER ROLE worker SET search_path = clock, pg_catalog, public"
    )

    def set_to(at: datetime) -> None:
        database.execute(f"UPDATE clock.face SET at = '{at.isoformat()}'")

    yield set_to
    database.execute("ALTER ROLE worker RESET ALL; DROP SCHEMA clock CASCADE")


@pytest.fixture
def app(set_clock: SetClock, app: Flask) -> Flask:  # noqa: ARG001 # for the order
    """The app, whose connections are made after the clock."""
    return app


def test_upload_ends_24_hours_after_its_last_bytes(
    set_clock: SetClock, uploads: Uploads, settings: Settings, share: Path
) -> None:
    begun_at = datetime.now(UTC).replace(microsecond=0)
    set_clock(begun_at)
    path, whole = uploads.new(), uploads.whole(CONTENT)
    set_clock(begun_at + DAY - SECOND)
    sent = uploads.patch(path, 0, CONTENT[:1000])
    assert parsedate_to_datetime(sent.headers["Upload-Expires"]) == begun_at + 2 * DAY - SECOND
    set_clock(begun_at + DAY)
    unused = uploads.client.post("/tasks", headers=uploads.headers, json={"upload_id": whole})
    assert problem(unused) == (410, "upload_gone")
    assert uploads.offset(path) == 1000
    set_clock(begun_at + 2 * DAY - SECOND)
    assert problem(uploads.patch(path, 1000, b"x")) == (410, "upload_gone")
    assert uploads.client.head(path, headers=uploads.headers).status_code == 410
    assert uploads.client.get("/uploads", headers=uploads.headers).get_json() == []
    usage = uploads.client.get("/usage", headers=uploads.headers).get_json()
    assert usage["uploads_bytes"] == 0
    set_clock(begun_at + 2 * DAY + MINUTE - 2 * SECOND)
    remove_unneeded_uploads(settings)
    assert file_of(share, path).exists()  # a task may be taking it
    set_clock(begun_at + 2 * DAY + MINUTE - SECOND)
    remove_unneeded_uploads(settings)
    assert list((share / "uploads").iterdir()) == []


def test_upload_of_a_task_does_not_end_by_time(
    set_clock: SetClock, uploads: Uploads, settings: Settings, share: Path
) -> None:
    begun_at = datetime.now(UTC).replace(microsecond=0)
    set_clock(begun_at)
    whole = uploads.whole(CONTENT)
    set_clock(begun_at + DAY - SECOND)
    used = uploads.client.post("/tasks", headers=uploads.headers, json={"upload_id": whole})
    assert used.status_code == 202
    set_clock(begun_at + 30 * DAY)
    remove_unneeded_uploads(settings)
    assert (share / "uploads" / whole).read_bytes() == CONTENT


def test_upload_that_was_deleted_is_gone_for_24_hours_and_then_unknown(
    set_clock: SetClock, uploads: Uploads, settings: Settings
) -> None:
    path, deleted_at = uploads.new(), datetime.now(UTC).replace(microsecond=0)
    set_clock(deleted_at)
    assert uploads.client.delete(path, headers=uploads.headers).status_code == 204
    remove_unneeded_uploads(settings)
    for at, status in ((deleted_at + DAY, 410), (deleted_at + DAY + SECOND, 404)):
        set_clock(at)
        remove_orphaned_uploads(settings)
        assert uploads.client.head(path, headers=uploads.headers).status_code == status


@pytest.mark.parametrize("zone", ZONES)
def test_day_of_the_quota_ends_at_midnight_utc(
    set_clock: SetClock, settings: Settings, auth: Auth, database: Database, zone: str
) -> None:
    database.execute(f"ALTER ROLE worker SET timezone = '{zone}'")
    minute = settings.model_copy(update={"quota_source_seconds_per_day": 60})
    app = create_app(minute)
    client, midnight = app.test_client(), datetime(2027, 2, 1, tzinfo=UTC)
    set_clock(midnight - DAY)
    with app.app_context():
        for _ in range(2):
            submit()
        leases.begin_processing(claim_task(), SOURCE, "source", plan(3))
        finished_part()
        usage = client.get("/usage", headers=auth()).get_json()
        assert usage["today_ends_in_s"] == 86_400
        for left_s in (86_400, 3600, 1):
            set_clock(midnight - left_s * SECOND)
            refused = post(client, auth())
            assert problem(refused) == (429, "quota_source_seconds")
            assert refused.headers["Retry-After"] == str(left_s)
            assert refused.headers["RateLimit"] == f'"source-seconds";r=0;t={left_s}'
        usage = client.get("/usage", headers=auth()).get_json()
        assert (usage["source_s_today"], usage["rendered_s_this_month"]) == (60, 20)
        set_clock(midnight)
        usage = client.get("/usage", headers=auth()).get_json()
        assert (usage["source_s_today"], usage["rendered_s_this_month"]) == (0, 0)
        assert usage["today_ends_in_s"] == 86_400
        assert post(client, auth()).headers["RateLimit"] == '"source-seconds";r=60;t=86400'
        leases.begin_processing(claim_task(), SOURCE, "source", plan(1))
        usage = client.get("/usage", headers=auth()).get_json()
        assert (usage["source_s_today"], usage["rendered_s_this_month"]) == (20, 0)
    days = database.execute("SELECT day::text, planned_s FROM usage_days ORDER BY day")
    assert days == [("2027-01-31", 60), ("2027-02-01", 20)]


def test_idempotency_key_is_free_after_24_hours(
    set_clock: SetClock, client: FlaskClient, auth: Auth, database: Database
) -> None:
    headers = {**auth(), "Idempotency-Key": "key"}
    first = post(client, headers)
    ((created_at,),) = database.execute("SELECT created_at FROM tasks")
    assert isinstance(created_at, datetime)
    set_clock(created_at + DAY)
    assert post(client, headers).get_json() == first.get_json()
    set_clock(created_at + DAY + SECOND)
    another = client.post("/tasks", json={"url": "http://example.com/w.mp4"}, headers=headers)
    assert another.status_code == 202
    assert another.get_json()["task_id"] != first.get_json()["task_id"]


def test_task_expires_at_the_time_shown(
    set_clock: SetClock, client: FlaskClient, auth: Auth, settings: Settings, database: Database
) -> None:
    monthly = settings.model_copy(update={"retention_days": 30})
    ended_at = datetime.now(UTC).replace(microsecond=0)
    set_clock(ended_at - 30 * DAY)
    retention.apply_setting(30)
    path = f"/tasks/{submit()}"
    database.execute(f"UPDATE tasks SET status = 'done', finished_at = '{ended_at.isoformat()}'")
    set_clock(ended_at)
    shown = client.get(path, headers=auth()).get_json()
    expires_at = datetime.fromisoformat(shown["expires_at"])
    assert (expires_at, shown["expires_soon"]) == (ended_at + 30 * DAY, False)
    set_clock(expires_at - 7 * DAY - SECOND)
    before = client.get(path, headers=auth())
    assert not before.get_json()["expires_soon"]
    set_clock(expires_at - 7 * DAY)
    soon = client.get(path, headers={**auth(), "If-None-Match": before.headers["ETag"]})
    assert soon.get_json()["expires_soon"]
    set_clock(expires_at - SECOND)
    sweep.delete_expired_tasks(monthly)
    assert client.get(path, headers=auth()).status_code == 200
    set_clock(expires_at)
    sweep.delete_expired_tasks(monthly)
    assert problem(client.get(path, headers=auth())) == (404, "task_not_found")


@pytest.fixture
def deliveries(client: FlaskClient, auth: Auth) -> str:
    """Two test events of a webhook that wait to be sent; the path of their list."""
    body = {"url": "https://hooks.example.com/idrl"}
    link: str = client.post("/webhooks", json=body, headers=auth()).get_json()["link"]
    for _ in range(2):
        assert client.post(f"{link}/test", headers=auth()).status_code == 202
    return f"{link}/deliveries"


def _attempt(outcome: webhooks.Outcome) -> None:
    delivery = webhooks.claim(30)
    assert delivery is not None
    webhooks.record_attempt(delivery, outcome)


def test_delivery_that_has_ended_is_listed_for_30_days(
    set_clock: SetClock,
    deliveries: str,
    client: FlaskClient,
    auth: Auth,
    settings: Settings,
    database: Database,
) -> None:
    """One that waits stays until it has ended."""
    ((newest,),) = database.execute("SELECT max(event_at) FROM webhook_deliveries")
    assert isinstance(newest, datetime)

    def statuses_at(at: datetime) -> list[str]:
        set_clock(at)
        sweep.delete_old_rows(settings)
        listed = client.get(deliveries, headers=auth()).get_json()
        return sorted(each["status"] for each in listed)

    set_clock(newest + MINUTE)
    _attempt(webhooks.Outcome(http_status=204))
    assert statuses_at(newest + 30 * DAY - MINUTE) == ["delivered", "waiting"]
    assert statuses_at(newest + 30 * DAY + SECOND) == ["waiting"]


@pytest.mark.usefixtures("deliveries")
def test_receiver_that_asks_for_a_year_is_tried_again_after_a_day(
    set_clock: SetClock,
) -> None:
    at = datetime.now(UTC) + MINUTE
    set_clock(at)
    _attempt(webhooks.Outcome(http_status=204))
    _attempt(webhooks.Outcome(http_status=503, retry_after_s=365 * 86_400))
    set_clock(at + DAY - SECOND)
    assert webhooks.claim(30) is None
    set_clock(at + DAY)
    assert webhooks.claim(30) is not None


@pytest.mark.usefixtures("deliveries")
@pytest.mark.parametrize("back", [60 * MINUTE, DAY])
def test_clock_that_is_set_back_delays_no_work(
    set_clock: SetClock, settings: Settings, back: timedelta
) -> None:
    """Removals, webhooks and the leases of dead workers too; a planned task waits all the same."""
    group, *_ = sweeper.groups(settings, SweepClock())

    def sweep_at(at: datetime) -> None:
        set_clock(at)
        for _ in range(2):  # a round that comes late leaves the leases to the next one
            assert sweeper.run_round(group, "test:1")

    at = datetime.now(UTC) + MINUTE
    sweep_at(at)
    planned = submissions.create_task(Submission(1, "", starts_manually=True))[0].id
    assert leases.begin_processing(claim_task(), SOURCE, "source", plan(1))
    lost = processing(parts=2)
    lost_part = claim_part()
    removals.request_for([planned])
    assert webhooks.claim(30) is not None
    queued = submit(owner_id=2)
    workers.record_step("rows", "test:1", None)
    sweep_at(at - back)
    assert workers.step_age_s("rows") == 0
    assert claim_task().task_id == queued
    assert claim_part() == PartLease(lost, 1, 1)
    assert removals.due_removals(9) == [planned]
    sweep_at(at - back + MINUTE)
    assert part_of(lost_part).status == PartStatus.WAITING
    assert webhooks.claim(30) is not None
    for number in (0, 1):
        assert claim_part() == PartLease(lost, 2, number)
    assert claims.claim_part("me", 30) is None
