"""The answer to a change shows what the call has made, whatever comes right after it."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from idrl_testing.database import Database
from worker_server.queue import claims, leases
from worker_server.queue.wakeups import WakeupSender
from worker_testing import SOURCE, claim_task, plan

Auth = Callable[..., dict[str, str]]
Act = Callable[[], object]
# Method and path below the task, body, and the status that the answer must show.
CALLS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "retry": ("POST", "/retry", {}, "queued"),
    "start": ("POST", "/start", {}, "processing"),
    "edit": ("PATCH", "", {"edit": {"part_seconds": 9}}, "queued"),
}


@pytest.fixture
def at_the_wakeup(monkeypatch: pytest.MonkeyPatch) -> Callable[[Act], None]:
    """Set what happens as soon as a call has woken workers, before it goes on."""

    def act_then(act: Act) -> None:
        monkeypatch.setattr(WakeupSender, "send", lambda *_: act())

    return act_then


@pytest.fixture
def link(
    request: pytest.FixtureRequest,
    post_manual: Callable[..., dict[str, Any]],
    database: Database,
) -> str:
    """A task that can be changed by the call of the test's parameter."""
    link: str = post_manual()["link"]
    assert leases.begin_processing(claim_task(), SOURCE, "source", plan(1))
    if request.node.callspec.params["call"] == "retry":
        database.execute("UPDATE tasks SET status = 'failed', finished_at = now()")
    return link


def claimed(call: str) -> object:
    """Claim the work as a worker does that was woken at once."""
    return claims.claim_part("quick", 30) if call == "start" else claims.claim_task("quick", 30)


@pytest.mark.parametrize("call", CALLS)
def test_answer_is_of_the_change_where_a_worker_is_quick(
    client: FlaskClient,
    auth: Auth,
    link: str,
    at_the_wakeup: Callable[[Act], None],
    call: str,
) -> None:
    method, below, body, status = CALLS[call]
    done: list[object] = []
    at_the_wakeup(lambda: done.append(claimed(call)))
    answer = client.open(link + below, method=method, json=body, headers=auth())
    assert answer.status_code == (200 if method == "PATCH" else 202)
    document = answer.get_json()
    assert document["status"] == status
    assert [part["status"] for part in document.get("parts", [])] in ([], ["waiting"])
    assert len(done) == 1
    assert done[0] is not None


@pytest.mark.parametrize("call", CALLS)
def test_change_is_answered_where_the_task_is_deleted_at_once(
    client: FlaskClient,
    auth: Auth,
    database: Database,
    link: str,
    at_the_wakeup: Callable[[Act], None],
    call: str,
) -> None:
    """It was 404, as if the call had changed nothing."""
    method, below, body, status = CALLS[call]
    at_the_wakeup(lambda: database.execute("DELETE FROM tasks"))
    answer = client.open(link + below, method=method, json=body, headers=auth())
    assert answer.get_json()["status"] == status
    assert database.execute("SELECT count(*) FROM tasks") == [(0,)]
