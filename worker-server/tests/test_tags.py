"""Tags of tasks and lists: no visible change without another tag, and 304 without one."""

import random
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from idrl_testing.database import Database
from worker_server import storage
from worker_server.errors import WorkFailed
from worker_server.jobs.removals import remove_due
from worker_server.queue import cancellation, changes, claims, leases, requeueing, retention
from worker_server.queue.claims import PartLease, TaskLease
from worker_server.queue.parts import Clip
from worker_server.queue.quotas import Quotas
from worker_server.queue.retry_policy import RetryLimits
from worker_server.settings import Settings
from worker_testing import SOURCE, expire_leases, plan, post, problem, submit

Auth = Callable[..., dict[str, str]]
_LIMITS = RetryLimits(3, 0)


class Watcher:
    """A caller who polls some addresses and holds each answer against the one before."""

    def __init__(self, client: FlaskClient, headers: dict[str, str], *paths: str) -> None:
        self._client, self._headers, self._paths = client, headers, paths
        self._seen: dict[str, tuple[str, Any]] = {}

    def poll(self) -> None:
        """Assert that 304 comes exactly where the rows are as they were, and never too long."""
        for path in self._paths:
            full = self._client.get(path, headers=self._headers)
            if full.status_code == 404:
                self._seen.pop(path, None)
                continue
            tag, shown = (
                full.headers["ETag"],
                (_without_estimate(full.get_json()), full.headers.get("Link")),
            )
            assert tag.startswith('W/"')
            if path in self._seen:
                known_tag, known = self._seen[path]
                again = self._conditional(path, known_tag)
                assert again.status_code == (304 if tag == known_tag else 200), path
                assert tag != known_tag or shown == known, (path, known, shown)
            assert self._conditional(path, tag).status_code == 304
            self._seen[path] = tag, shown

    def _conditional(self, path: str, tag: str) -> Any:  # noqa: ANN401 # a test response
        response = self._client.get(path, headers={**self._headers, "If-None-Match": tag})
        if response.status_code == 304:
            assert (response.data, response.headers["ETag"]) == (b"", tag)
        return response


def _without_estimate(document: Any) -> Any:  # noqa: ANN401 # JSON has no types
    """Return the document without the estimate that the clock changes."""
    if isinstance(document, list):
        return [_without_estimate(each) for each in document]
    return {name: value for name, value in document.items() if name != "eta_s"}


class World:
    """What may happen to tasks, in any order."""

    def __init__(self, settings: Settings, database: Database, random_: random.Random) -> None:
        self._settings, self._database, self._random = settings, database, random_
        self._leases: list[TaskLease | PartLease] = []
        self.task_ids: list[uuid.UUID] = []

    def act(self) -> None:
        """Do one thing of those that are possible."""
        actions = (
            *(self._submit, self._claim_task, self._claim_part, self._progress, self._progress),
            *(self._proceed, self._proceed, self._proceed, self._fail, self._release, self._cancel),
            *(self._lose, self._retry, self._lose_clip, self._remove, self._change, self._retain),
        )
        self._random.choice(actions)()

    def _submit(self) -> None:
        if len(self.task_ids) < 6:
            self.task_ids.append(submit())

    def _claim_task(self) -> None:
        if claim := claims.claim_task("me", 30):
            self._leases.append(claim.lease)

    def _claim_part(self) -> None:
        if claim := claims.claim_part("me", 30):
            self._leases.append(claim.lease)

    def _some_lease(self) -> TaskLease | PartLease | None:
        self._random.shuffle(self._leases)
        return self._leases.pop() if self._leases else None

    def _progress(self) -> None:
        if lease := self._some_lease():
            leases.renew(lease, 30, self._random.choice([0, 50, 50, 99]))
            self._leases.append(lease)

    def _proceed(self) -> None:
        lease = self._some_lease()
        if isinstance(lease, TaskLease):
            leases.begin_processing(lease, SOURCE, "source", plan(self._random.choice([1, 2])))
        elif lease:
            leases.finish_part(lease, Clip("x/0.1.mp4", 9, "ab" * 32, 660, "copy"))

    def _fail(self) -> None:
        if lease := self._some_lease():
            retryable = self._random.random() < 0.5
            leases.fail(lease, WorkFailed("encoder_failed", "no", retryable=retryable), _LIMITS)

    def _release(self) -> None:
        if lease := self._some_lease():
            leases.release(lease)

    def _lose(self) -> None:
        self._leases.clear()
        expire_leases()

    def _cancel(self) -> None:
        if self.task_ids and self._random.random() < 0.3:
            cancellation.delete_task(1, self._random.choice(self.task_ids))

    def _retry(self) -> None:
        for task_id in self.task_ids:
            try:
                requeueing.retry_task(1, task_id)
            except requeueing.NotFailed:
                continue

    def _lose_clip(self) -> None:
        if self.task_ids:
            requeueing.mark_clip_lost(self._random.choice(self.task_ids), 0, "x/0.1.mp4")

    def _change(self) -> None:
        if self.task_ids:
            values = {"keep": self._random.random() < 0.5, "name": self._random.choice("ab")}
            changes.change_task(1, self._random.choice(self.task_ids), values, str, None, Quotas())

    def _retain(self) -> None:
        retention.apply_setting(self._random.choice([0, 3, 30]))

    def _remove(self) -> None:
        remove_due(self._settings)


@pytest.mark.parametrize("seed", range(2))
def test_no_visible_change_keeps_the_tag(
    app: Flask, auth: Auth, settings: Settings, database: Database, seed: int
) -> None:
    random_ = random.Random(seed)
    world = World(settings, database, random_)
    task_ids = world.task_ids = [submit() for _ in range(3)]
    paths = [f"/tasks/{task_id}" for task_id in task_ids]
    lists = ("/tasks", "/tasks?max=2", "/tasks?status=done,failed", "/tasks?q=v.mp4&max=2")
    watcher = Watcher(app.test_client(), auth(), *paths, *lists)
    for _ in range(50):
        world.act()
        watcher.poll()


@pytest.mark.usefixtures("long_status_timeouts")
def test_state_of_the_share_is_in_the_tag(
    client: FlaskClient, auth: Auth, settings: Settings
) -> None:
    """A live task says that the share is unavailable; the rows are as before."""
    path = f"/tasks/{post(client, auth()).get_json()['task_id']}"
    before = client.get(path, headers=auth())
    (settings.remote_folder / storage.MARKER).unlink()
    client.get("/ready")  # which checks the share
    after = client.get(path, headers={**auth(), "If-None-Match": before.headers["ETag"]})
    assert (after.status_code, after.get_json()["waiting_for"]) == (200, "storage_unavailable")


def test_forms_of_if_none_match(client: FlaskClient, auth: Auth) -> None:
    path = f"/tasks/{post(client, auth()).get_json()['task_id']}"
    tag = client.get(path, headers=auth()).headers["ETag"]
    for known in (tag, tag.removeprefix("W/"), f'"x", {tag}', f'W/"x",{tag}', "*"):
        response = client.get(path, headers={**auth(), "If-None-Match": known})
        assert response.status_code == 304, known
        assert response.headers["ETag"] == tag
        assert response.headers["Cache-Control"] == "private, no-cache"
    for unknown in ('"x"', "", "x", tag.upper()):
        response = client.get(path, headers={**auth(), "If-None-Match": unknown})
        assert response.status_code == 200, unknown


def test_tags_reveal_nothing_to_other_owners(client: FlaskClient, auth: Auth) -> None:
    path = f"/tasks/{post(client, auth()).get_json()['task_id']}"
    tag = client.get(path, headers=auth()).headers["ETag"]
    for known in (tag, "*"):
        response = client.get(path, headers={**auth(2), "If-None-Match": known})
        assert problem(response) == (404, "task_not_found")
