"""Tasks that are planned first: nothing is rendered before their caller starts them."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

import worker_testing
from worker_server.app import create_app
from worker_server.db import transaction
from worker_server.errors import WorkFailed
from worker_server.jobs import sweep
from worker_server.jobs.removals import remove_due
from worker_server.queue import backlog, claims, leases, planning, requeueing, retention, usage
from worker_server.queue.quotas import Quotas
from worker_server.queue.retry_policy import RetryLimits
from worker_server.settings import Settings
from worker_testing import URL, claim_task, expire_leases, files, plan, problem, task_of, uuid_of

pytestmark = pytest.mark.usefixtures("app")
Auth = Callable[..., dict[str, str]]
Sample = Callable[..., str]
SOURCE = {"width": 16, "duration_s": "40"}


@pytest.fixture
def planned(post_manual: Callable[..., dict[str, Any]]) -> str:
    """A planned task of two parts, without files; its link."""
    link: str = post_manual()["link"]
    assert leases.begin_processing(claim_task(), SOURCE, "source", plan(2))
    return link


def test_planned_task_shows_its_parts_and_renders_none(
    client: FlaskClient, auth: Auth, planned: str
) -> None:
    task = client.get(planned, headers=auth()).get_json()
    assert (task["status"], task["start"], task["progress"]) == ("planned", "manual", 10)
    assert [(part["status"], part["start_s"]) for part in task["parts"]] == [
        ("waiting", 0),
        ("waiting", 20),
    ]
    assert (task["waiting_for"], task["eta_s"]) == (None, None)
    assert claims.claim_part("me", 30) is None
    assert backlog.due_work(10) == (0, 0)
    assert backlog.oldest_due_s() == {"fetch": 0, "render": 0}
    (listed,) = client.get("/tasks?status=planned", headers=auth()).get_json()
    assert listed["task_id"] == task["task_id"]


@pytest.mark.usefixtures("planned")
def test_parts_of_planned_tasks_take_no_share_of_the_cores() -> None:
    """They may wait for their caller for days."""
    worker_testing.processing(1, owner_id=2)
    claim = claims.claim_part("me", 30)
    assert claim is not None
    assert claim.live_parts == 1


def test_status_counts_no_parts_of_planned_tasks(
    client: FlaskClient, auth: Auth, planned: str
) -> None:
    def waiting() -> dict[str, int]:
        status = client.get("/status", headers=auth(9, role="operator")).get_json()
        waiting = {each["kind"]: each["waiting"] for each in status["work"]}
        with transaction():
            assert backlog.count_by_status()["part", "waiting"] == waiting["render"]
        return waiting

    assert waiting() == {"fetch": 0, "render": 0}
    client.post(f"{planned}/start", headers=auth())
    assert waiting() == {"fetch": 0, "render": 2}
    with transaction() as session:
        later = "UPDATE parts SET run_after = now() + interval '1 h' WHERE number = 0"
        session.execute(text(later))
    assert waiting() == {"fetch": 0, "render": 2}  # one of the parts is retried later


def test_planned_task_is_started_once(client: FlaskClient, auth: Auth, planned: str) -> None:
    started = client.post(f"{planned}/start", headers=auth())
    assert (started.status_code, started.get_json()["status"]) == (202, "processing")
    assert backlog.due_work(10) == (0, 2)
    again = client.post(f"{planned}/start", headers=auth())
    assert (again.status_code, again.get_json()["status"]) == (202, "processing")
    assert claims.claim_part("me", 30) is not None
    kinds = [each["kind"] for each in client.get(f"{planned}/events", headers=auth()).get_json()]
    assert kinds.count("start_requested") == 1


def test_started_task_that_is_retried_does_not_wait_again(
    client: FlaskClient, auth: Auth, planned: str
) -> None:
    client.post(f"{planned}/start", headers=auth())
    for _ in range(2):
        claim = claims.claim_part("me", 30)
        assert claim is not None
        leases.fail(claim.lease, WorkFailed("source_damaged", "It is."), RetryLimits(1))
    task_id = uuid_of(planned)
    assert task_of(task_id).status == "failed"
    assert requeueing.retry_task(1, task_id)
    retried = claims.claim_task("me", 30)
    assert retried is not None
    assert retried.source_path is None  # its file goes with the failure
    assert leases.begin_processing(retried.lease, SOURCE, "source.2", plan(2))
    assert task_of(task_id).status == "processing"
    assert backlog.due_work(10) == (0, 2)


@pytest.mark.parametrize("status", ["queued", "downloading"])
def test_task_that_is_not_planned_yet_cannot_be_started(
    client: FlaskClient, auth: Auth, post_manual: Callable[..., dict[str, Any]], status: str
) -> None:
    link = post_manual()["link"]
    if status == "downloading":
        claim_task()
    assert problem(client.post(f"{link}/start", headers=auth())) == (409, "not_planned")
    changed = client.patch(link, json={"edit": {"part_seconds": 9}}, headers=auth())
    assert problem(changed) == (409, "not_planned")


def test_task_without_manual_start_cannot_be_started(client: FlaskClient, auth: Auth) -> None:
    link = client.post("/tasks", json={"url": URL}, headers=auth()).get_json()["link"]
    assert leases.begin_processing(claim_task(), SOURCE, "source", plan(1))
    assert problem(client.post(f"{link}/start", headers=auth())) == (409, "not_planned")


@pytest.mark.parametrize("path", ["/start", ""])
def test_task_of_another_owner_is_not_there(
    client: FlaskClient, auth: Auth, planned: str, path: str
) -> None:
    call = client.post if path else client.patch
    answer = call(planned + path, json={"edit": {}}, headers=auth(2))
    assert problem(answer) == (404, "task_not_found")
    assert task_of(uuid_of(planned)).status == "planned"


@pytest.mark.parametrize("start", ["Manual", "", None, True, "later"])
def test_invalid_start_is_refused(client: FlaskClient, auth: Auth, start: object) -> None:
    answer = client.post("/tasks", json={"url": URL, "start": start}, headers=auth())
    assert problem(answer) == (400, "invalid_body")
    assert answer.get_json()["errors"][0]["field"] == "start"


def test_change_of_the_edit_keeps_what_is_not_named(
    client: FlaskClient, auth: Auth, planned: str
) -> None:
    change = {"edit": {"part_seconds": 9, "aspect": "1:1"}, "name": "Second cut"}
    changed = client.patch(planned, json=change, headers=auth()).get_json()
    assert (changed["status"], changed["parts"], changed["name"]) == ("queued", [], "Second cut")
    assert changed["edit"]["part_seconds"] == 9
    client.patch(planned, json={"name": "Third"}, headers=auth())
    claim = claims.claim_task("me", 30)
    assert claim is not None
    assert claim.edit is not None
    assert (claim.edit["aspect"], claim.edit["fit"]) == ("1:1", "crop")
    assert (claim.source, claim.source_path) == (SOURCE, "source")
    assert leases.begin_processing(claim.lease, SOURCE, "source", plan(3))
    task = client.get(planned, headers=auth()).get_json()
    assert (task["status"], task["parts_total"], task["name"]) == ("planned", 3, "Third")


@pytest.mark.parametrize("same", [{}, {"fit": "crop"}, {"part_seconds": 20}, None])
def test_an_edit_that_changes_nothing_keeps_the_plan(
    client: FlaskClient, auth: Auth, planned: str, same: dict[str, Any] | None
) -> None:
    before = client.get(planned, headers=auth()).get_json()
    change = {"name": "Renamed", "edit": before["edit"] if same is None else same}
    changed = client.patch(planned, json=change, headers=auth()).get_json()
    assert (changed["status"], changed["name"]) == ("planned", "Renamed")
    assert (changed["parts"], changed["edit"]) == (before["parts"], before["edit"])
    assert client.post(f"{planned}/start", headers=auth()).status_code == 202


@pytest.mark.parametrize("default_s", [1, 90, 600])
def test_change_keeps_part_seconds(auth: Auth, settings: Settings, default_s: int) -> None:
    """PART_SECONDS may be 1 to 600, what callers choose themselves 2 to 60."""
    client = create_app(settings.model_copy(update={"part_seconds": default_s})).test_client()
    link = client.post("/tasks", json={"url": URL, "start": "manual"}, headers=auth()).location
    changes = (
        ({"aspect": "1:1"}, default_s),
        ({"part_seconds": 9}, 9),
        ({"fit": "pad"}, 9),
        ({"part_seconds": None}, default_s),
    )
    for change, expected_s in changes:
        assert leases.begin_processing(claim_task(), SOURCE, "source", plan(1))
        changed = client.patch(link, json={"edit": change}, headers=auth())
        assert changed.status_code == 200, changed.get_json()
        assert changed.get_json()["edit"]["part_seconds"] == expected_s


def test_change_of_the_edit_keeps_a_brand_that_was_deleted(
    client: FlaskClient, auth: Auth, post_manual: Callable[..., dict[str, Any]]
) -> None:
    form = {"data": {"name": "Race"}, "content_type": "multipart/form-data"}
    brand_id = client.post("/brands", headers=auth(), **form).get_json()["brand_id"]
    link = post_manual(brand_id=brand_id)["link"]
    assert leases.begin_processing(claim_task(), SOURCE, "source", plan(1))
    assert client.delete(f"/brands/{brand_id}", headers=auth()).status_code == 204
    for change in ({"aspect": "1:1"}, {"brand_id": brand_id, "aspect": "4:5"}):
        changed = client.patch(link, json={"edit": change}, headers=auth())
        assert changed.status_code == 200, changed.get_json()
        edit = changed.get_json()["edit"]
        assert (edit["brand_id"], edit["aspect"]) == (brand_id, change["aspect"])
        assert leases.begin_processing(claim_task(), SOURCE, "source", plan(1))
    default = client.patch(link, json={"edit": {"brand_id": None}}, headers=auth())
    assert default.get_json()["edit"]["brand_id"] == "built-in"


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ({"start_s": 5, "end_s": 30}, {"end_s": 20}, (5, 20, None)),
        ({"start_s": 5}, {"segments": [{"start_s": 1, "end_s": 3}]}, (None, None, 1)),
        ({"segments": [{"start_s": 1, "end_s": 3}]}, {"start_s": 2}, (2, None, None)),
        ({"start_s": 5}, {"start_s": None}, (None, None, None)),
        ({"start_s": 5}, {}, (5, None, None)),
    ],
)
def test_time_range_and_segments_replace_each_other(
    client: FlaskClient,
    auth: Auth,
    post_manual: Callable[..., dict[str, Any]],
    first: dict[str, object],
    second: dict[str, object],
    wanted: tuple[object, ...],
) -> None:
    link = post_manual(**first)["link"]
    assert leases.begin_processing(claim_task(), SOURCE, "source", plan(1))
    edit = client.patch(link, json={"edit": second}, headers=auth()).get_json()["edit"]
    segments = edit["segments"] and len(edit["segments"])
    assert (edit["start_s"], edit["end_s"], segments) == wanted


@pytest.mark.parametrize(
    ("edit", "field", "code"),
    [
        ({"part_seconds": 1}, "edit.part_seconds", "greater_than_equal"),
        ({"colour": "red"}, "edit.colour", "extra_forbidden"),
        ({"end_s": 4}, "edit.end_s", "end_before_start"),
        ({"start_s": 40}, "edit.start_s", "edit_beyond_end"),
        ({"start_s": 39.9996}, "edit.start_s", "edit_beyond_end"),  # 40, rounded
        (
            {"segments": [{"start_s": 0, "end_s": 1}, {"start_s": 41, "end_s": 42}]},
            "edit.segments.1.start_s",
            "edit_beyond_end",
        ),
        (None, "edit", "model_type"),
    ],
)
def test_wrong_change_leaves_the_plan(
    client: FlaskClient,
    auth: Auth,
    post_manual: Callable[..., dict[str, Any]],
    edit: object,
    field: str,
    code: str,
) -> None:
    link = post_manual(start_s=5)["link"]
    source = worker_testing.SOURCE | {"duration_s": "40"}
    assert leases.begin_processing(claim_task(), source, "source", plan(2))
    answer = client.patch(link, json={"edit": edit, "name": "new"}, headers=auth())
    assert problem(answer) == (400, "invalid_body")
    (error,) = answer.get_json()["errors"]
    assert (error["field"], error["code"]) == (field, code)
    task = client.get(link, headers=auth()).get_json()
    assert (task["status"], task["parts_total"]) == ("planned", 2)
    assert task["name"] != "new"


def test_change_with_an_unknown_brand_changes_nothing(
    client: FlaskClient, auth: Auth, planned: str
) -> None:
    """The brand is looked up in the middle of the change, in the same transaction."""
    before = client.get(planned, headers=auth()).get_json()
    change = {"edit": {"brand_id": str(uuid.uuid4())}, "name": "new", "keep": True}
    answer = client.patch(planned, json=change, headers=auth())
    assert problem(answer) == (422, "brand_not_found")
    assert client.get(planned, headers=auth()).get_json() == before


def test_change_to_too_many_parts_leaves_the_plan(
    client: FlaskClient, auth: Auth, post_manual: Callable[..., dict[str, Any]]
) -> None:
    link = post_manual()["link"]
    source = worker_testing.SOURCE | {"duration_s": "100"}
    assert leases.begin_processing(claim_task(), source, "source", plan(5))
    whole = [{"start_s": 0, "end_s": 1000}] * 400  # 50 parts of each, as the video ends at 100 s
    fits = {"segments": whole, "part_seconds": 2}
    assert client.patch(link, json={"edit": fits}, headers=auth()).status_code == 200
    assert leases.begin_processing(claim_task(), source, "source", plan(5))
    too_many = {"segments": [*whole, {"start_s": 0, "end_s": 1}]}
    answer = client.patch(link, json={"edit": too_many}, headers=auth())
    assert problem(answer) == (400, "invalid_body")
    (error,) = answer.get_json()["errors"]
    assert (error["field"], error["code"]) == ("edit.part_seconds", "edit_too_many_parts")
    assert client.get(link, headers=auth()).get_json()["status"] == "planned"


def test_500_segments_fit_into_a_change(client: FlaskClient, auth: Auth, planned: str) -> None:
    segments = [{"start_s": n, "end_s": n + 1.5, "name": "é" * 100} for n in range(500)]
    changed = client.patch(planned, json={"edit": {"segments": segments}}, headers=auth())
    assert changed.status_code == 200
    assert changed.get_json()["edit"]["segments"] == segments


def test_started_task_keeps_its_edit(client: FlaskClient, auth: Auth, planned: str) -> None:
    client.post(f"{planned}/start", headers=auth())
    answer = client.patch(planned, json={"edit": {"fit": "pad"}, "keep": True}, headers=auth())
    assert problem(answer) == (409, "not_planned")
    assert client.get(planned, headers=auth()).get_json()["keep"] is False


def test_delete_aborts_a_planned_task_and_removes_its_files(
    client: FlaskClient, auth: Auth, planned: str, settings: Settings
) -> None:
    folder = settings.remote_folder / str(uuid_of(planned))
    folder.mkdir()
    (folder / "source").write_bytes(b"x")
    assert client.delete(planned, headers=auth()).status_code == 202
    remove_due(settings)
    task = client.get(planned, headers=auth()).get_json()
    assert (task["status"], task["parts"]) == ("canceled", [])
    assert not files(settings, uuid_of(planned))
    assert problem(client.post(f"{planned}/start", headers=auth())) == (409, "not_planned")


def test_planned_task_expires_like_a_finished_one(
    client: FlaskClient, auth: Auth, planned: str, settings: Settings
) -> None:
    monthly = settings.model_copy(update={"retention_days": 30})
    retention.apply_setting(30)
    assert client.get(planned, headers=auth()).get_json()["expires_at"] is not None
    with transaction() as session:
        session.execute(text("UPDATE retention SET since = since - interval '365 days'"))
        session.execute(text("UPDATE tasks SET planned_at = now() - interval '29.9 days'"))
    sweep.delete_expired_tasks(monthly)
    assert task_of(uuid_of(planned)).status == "planned"
    with transaction() as session:
        session.execute(text("UPDATE tasks SET planned_at = now() - interval '30.1 days'"))
    assert client.get(planned, headers=auth()).get_json()["expires_soon"] is True
    made = client.post("/webhooks", json={"url": "https://hooks.example.com"}, headers=auth())
    sweep.delete_expired_tasks(monthly)
    remove_due(settings)
    assert client.get(planned, headers=auth()).get_json()["status"] == "canceled"
    assert not files(settings, uuid_of(planned))
    sent = client.get(f"{made.get_json()['link']}/deliveries", headers=auth()).get_json()
    assert [each["event"] for each in sent] == ["task.canceled"]


def test_planned_task_counts_as_live_and_its_seconds_are_counted_once(planned: str) -> None:
    task_id = uuid_of(planned)

    def change(seconds: float, parts: int) -> None:
        with transaction() as session:
            planning.change_edit(
                session, task_id, lambda _, __: ({"part_seconds": seconds}, 0), Quotas()
            )
        assert leases.begin_processing(
            claim_task(), SOURCE, "source", plan(parts), Quotas(9, 0, 99)
        )

    def counted() -> float:
        with transaction() as session:
            assert usage.count_live_tasks(session, 1) == 1
            return usage.today(session, 1).planned_s

    assert counted() == 40
    change(9, 4)
    assert counted() == 80
    change(20, 1)
    assert counted() == 80
    change(19, 4)
    assert counted() == 80
    with transaction() as session:
        planning.change_edit(session, task_id, lambda _, __: ({}, 0), Quotas())
    with pytest.raises(WorkFailed) as caught:
        leases.begin_processing(claim_task(), SOURCE, "source", plan(9), Quotas(9, 0, 99))
    assert caught.value.code == "quota_source_seconds"


def test_lost_worker_plans_again(planned: str) -> None:
    task_id = uuid_of(planned)
    with transaction() as session:
        planning.change_edit(session, task_id, lambda _, __: ({"part_seconds": 9}, 0), Quotas())
    lease = claim_task()
    expire_leases()
    lost = WorkFailed("worker_lost", "gone", retryable=True, retry_after_s=0)
    assert leases.fail(lease, lost, RetryLimits(3), expired_only=True)
    assert not leases.begin_processing(lease, SOURCE, "source.1", plan(4))
    claim = claims.claim_task("me", 30)
    assert claim is not None
    assert claim.source_path == "source"
    assert leases.begin_processing(claim.lease, SOURCE, "source", plan(4))
    assert task_of(task_id).status == "planned"
