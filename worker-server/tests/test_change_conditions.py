"""If-Match and If-None-Match of changes: evaluated under the lock that the change holds."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from idrl_testing.database import Database
from idrl_testing.waiting import wait_until
from worker_testing import post, problem

Auth = Callable[..., dict[str, str]]
KINDS = ["patch task", "delete task", "delete batch"]


class Changed:
    """A task or a batch, and one call that changes it."""

    def __init__(self, client: FlaskClient, headers: dict[str, str], kind: str) -> None:
        self._client, self._headers = client, headers
        self._method, what = kind.split()
        body = {"items": [{"url": "http://example.com/v.mp4"}]}
        accepted = (
            post(client, headers)
            if what == "task"
            else client.post("/batches", json=body, headers=headers)
        )
        self.path = accepted.get_json()["link"]

    def seen(self) -> tuple[str, Any]:
        answer = self._client.get(self.path, headers=self._headers)
        return answer.headers["ETag"], answer.get_json()

    def change(self, headers: dict[str, str], client: FlaskClient | None = None) -> TestResponse:
        body: dict[str, Any] = {"json": {"name": "new"}} if self._method == "patch" else {}
        call = getattr(client or self._client, self._method)
        answer: TestResponse = call(self.path, headers={**self._headers, **headers}, **body)
        return answer


@pytest.fixture(params=KINDS)
def changed(client: FlaskClient, auth: Auth, request: pytest.FixtureRequest) -> Changed:
    return Changed(client, auth(), request.param)


def test_another_version_than_the_one_named_is_not_changed(changed: Changed) -> None:
    before = changed.seen()
    for headers in (
        {"If-Match": '"another", W/"one"'},
        {"If-Match": "x"},
        {"If-None-Match": before[0]},
        {"If-None-Match": "*"},
        {"If-Match": before[0], "If-None-Match": before[0]},
    ):
        assert problem(changed.change(headers)) == (412, "precondition_failed"), headers
        assert changed.seen() == before


@pytest.mark.parametrize("form", ["{tag}", "{strong}", '"another", {tag}', "*", ""])
def test_version_that_is_named_is_changed(changed: Changed, form: str) -> None:
    """By weak comparison: tags of documents are weak."""
    tag, before = changed.seen()
    named = form.format(tag=tag, strong=tag.removeprefix("W/"))
    assert changed.change({"If-Match": named, "If-None-Match": '"another"'}).status_code == 200
    assert changed.seen()[1] != before


def test_of_two_changes_of_one_version_one_is_made(
    app: Flask, changed: Changed, database: Database
) -> None:
    """Both calls begin before either has ended: the second one sees what the first has done."""
    tag, _ = changed.seen()
    with ThreadPoolExecutor(2) as pool, database.holding("SELECT id FROM tasks FOR UPDATE"):
        clients = [app.test_client() for _ in range(2)]
        calls = [pool.submit(changed.change, {"If-Match": tag}, each) for each in clients]
        wait_until(lambda: database.waiting() >= 2, 20)
    assert sorted(call.result().status_code for call in calls) == [200, 412]
    assert changed.seen()[0] != tag


def test_what_is_not_there_stays_404(client: FlaskClient, auth: Auth) -> None:
    path = post(client, auth()).get_json()["link"]
    headers = {**auth(2), "If-Match": "*"}
    assert problem(client.delete(path, headers=headers)) == (404, "task_not_found")
    body = {"name": "new"}
    assert problem(client.patch(path, json=body, headers=headers)) == (404, "task_not_found")
