"""The operators' calls: the system's state, and pausing a kind of work."""

import math
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from idrl_testing.database import Database
from worker_server.api import system_status
from worker_server.errors import WorkFailed
from worker_server.queue import claims, leases, workers
from worker_server.queue.retry_policy import RetryLimits
from worker_server.settings import Settings
from worker_testing import claim_task, finished_part, problem, processing, submit

pytestmark = pytest.mark.usefixtures("long_status_timeouts", "lasting_heartbeats", "app")
Auth = Callable[..., dict[str, str]]


@pytest.fixture
def operator(auth: Auth) -> dict[str, str]:
    return auth(9, role="operator")


def test_others_are_refused(client: FlaskClient, auth: Auth) -> None:
    assert problem(client.get("/status", headers=auth())) == (403, "operator_only")
    for path in ("/status/pause", "/status/resume"):
        refused = client.post(path, json={"kind": "fetch"}, headers=auth())
        assert problem(refused) == (403, "operator_only")
        assert problem(client.post(path, json={"kind": "fetch"})) == (401, "token_missing")


def test_status_of_an_empty_system(client: FlaskClient, operator: dict[str, str]) -> None:
    status = client.get("/status", headers=operator).get_json()
    assert status.pop("share")["free_bytes"] > 0
    idle = {"paused": False, "waiting": 0, "running": 0, "oldest_wait_s": 0}
    assert status == {
        "work": [{"kind": "fetch", **idle}, {"kind": "render", **idle}],
        "workers": [],
        "speed": None,
        "rendered_s": 0,
        "failures": [],
        "accounts": [],
    }


def test_status_counts_what_there_is(
    client: FlaskClient, operator: dict[str, str], database: Database
) -> None:
    processing(parts=3)
    finished_part(size_bytes=700)
    claims.claim_part("me", 30)
    for owner_id in (1, 2, 2):
        submit(owner_id=owner_id)
    lease = claim_task()
    leases.fail(lease, WorkFailed("source_not_found", "gone"), RetryLimits(3))
    database.execute("UPDATE tasks SET run_after = now() - interval '90 s' WHERE status = 'queued'")
    database.execute("UPDATE tasks SET created_at = run_after")
    workers.record_heartbeat("worker-1:7", ["render"])
    workers.record_heartbeat("worker-2:8", ["fetch"])
    workers.record_fault("worker-2:8", "internal_error")
    database.execute("UPDATE workers SET seen_at = seen_at - interval '1 h' WHERE name ~ '1:7'")
    database.execute("UPDATE usage_days SET busy_s = 5")

    status = client.get("/status", headers=operator).get_json()
    fetch, render = status["work"]
    assert (fetch["waiting"], fetch["running"]) == (2, 0)
    assert 90 <= fetch["oldest_wait_s"] < 150
    assert (render["waiting"], render["running"]) == (1, 1)
    assert status["speed"] == 4  # 20 s of video in 5 s
    assert status["rendered_s"] == 20
    assert status["failures"] == [{"code": "source_not_found", "tasks": 1}]
    seen = {each["name"]: (each["is_alive"], each["fault_code"]) for each in status["workers"]}
    assert seen == {"worker-1:7": (False, None), "worker-2:8": (True, "internal_error")}
    assert [each["user_id"] for each in status["accounts"]] == [1, 2]
    assert status["accounts"][0]["clips_bytes"] == 700
    assert status["accounts"][0]["rendered_s_this_month"] == 20
    assert sum(each["live_tasks"] for each in status["accounts"]) == 3


def test_accounts_are_not_summed_up_at_each_call_where_that_takes_long(
    client: FlaskClient, operator: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page of an operator asks every five seconds."""

    def live_tasks() -> list[int]:
        status = client.get("/status", headers=operator).get_json()
        return [each["live_tasks"] for each in status["accounts"]]

    monkeypatch.setattr(system_status, "_SLOW_S", math.inf)
    submit()
    assert live_tasks() == [1]
    submit()
    assert live_tasks() == [2]
    monkeypatch.setattr(system_status, "_SLOW_S", 0)
    submit()
    assert live_tasks() == [3]
    submit()
    assert live_tasks() == [3]
    assert client.get("/status", headers=operator).get_json()["work"][0]["waiting"] == 4


def test_accounts_are_summed_up_again_after_a_while(
    client: FlaskClient, operator: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_status, "_SLOW_S", 0)
    monkeypatch.setattr(system_status, "_REUSED_S", 0)
    for count in (1, 2):
        submit()
        status = client.get("/status", headers=operator).get_json()
        assert [each["live_tasks"] for each in status["accounts"]] == [count]


def test_full_share_is_named(
    client: FlaskClient, operator: dict[str, str], settings: Settings
) -> None:
    (settings.remote_folder / ".idrl-share").unlink()
    share = client.get("/status", headers=operator).get_json()["share"]
    assert share["error"] == "storage_unavailable"


@pytest.mark.parametrize("kind", ["fetch", "render"])
def test_paused_kind_is_not_claimed_until_resumed(
    client: FlaskClient, operator: dict[str, str], kind: str
) -> None:
    def post(call: str) -> bool:
        answer = client.post(f"/status/{call}", json={"kind": kind}, headers=operator)
        assert (answer.status_code, answer.get_json()["kind"]) == (200, kind)
        paused = answer.get_json()["paused"]
        assert isinstance(paused, bool)
        return paused

    assert [post("pause"), post("pause"), post("resume"), post("resume")] == [
        True,
        True,
        False,
        False,
    ]


def test_wrong_kind_is_refused(client: FlaskClient, operator: dict[str, str]) -> None:
    for body in ({"kind": "all"}, {}, {"kind": "fetch", "more": 1}, {"kind": None}):
        refused = client.post("/status/pause", json=body, headers=operator)
        assert problem(refused) == (400, "invalid_body")
    status = client.get("/status", headers=operator).get_json()
    assert not any(each["paused"] for each in status["work"])
