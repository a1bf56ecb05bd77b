"""Listing tasks, whose they are, and accepting one only once."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from blackbox.client import Api

from idrl_testing.site import Site, fails

SignUp = Callable[[], Api]


@pytest.fixture(scope="module")
def gone_url(site: Site) -> str:
    """A URL that makes a task which ends soon."""
    return site.add("gone.mp4", answer=fails(410))


def test_new_task_is_queued(api: Api, gone_url: str) -> None:
    task = api.submit(gone_url)
    assert task["url"] == gone_url
    assert task["status"] == "queued"
    assert task["progress"] == task["parts_done"] == 0
    assert task["error"] is None


def test_labels_come_back_through_the_gateway(sign_up: SignUp, gone_url: str) -> None:
    api = sign_up()
    labels = {"name": "Ziel 🏁", "external_id": "talk-17", "metadata": {"day": 2, "é": [None]}}
    created = api.post("/tasks", {"url": gone_url, **labels})
    assert created.status_code == 202
    (listed,) = api.get("/tasks").json()
    read = api.get(created.json()["link"]).json()
    for task in (created.json(), listed, read):
        assert {key: task[key] for key in labels} == labels


def test_list_is_empty_at_first(sign_up: SignUp) -> None:
    assert sign_up().get("/tasks").json() == []


def test_list_in_either_order_and_no_longer_than_asked(sign_up: SignUp, gone_url: str) -> None:
    api = sign_up()
    made = [api.submit(gone_url)["task_id"] for _ in range(5)]

    def listed(query: str) -> list[str]:
        response = api.get(f"/tasks{query}")
        assert response.status_code == 200
        return [task["task_id"] for task in response.json()]

    assert listed("?order=0") == made
    assert listed("?order=1") == listed("") == made[::-1]
    assert listed("?max=2&order=0") == made[:2]
    assert listed("?max=4&order=1") == made[:0:-1]
    assert listed("?max=1000") == made[::-1]


def test_content_type_may_come_without_a_body(sign_up: SignUp, gone_url: str) -> None:
    api, headers = sign_up(), {"Content-Type": "application/json"}
    link = api.submit(gone_url)["link"]
    assert len(api.get("/tasks", headers=headers).json()) == 1
    assert api.get(link, headers=headers).status_code == 200
    assert api.delete(link, headers=headers).status_code in (200, 202)


def test_slashes_that_follow_each_other_count_as_one(api: Api, gone_url: str) -> None:
    task_id = api.submit(gone_url)["task_id"]
    assert api.get(f"/tasks//{task_id}").json()["task_id"] == task_id
    api.finish(task_id)
    assert api.delete(f"/tasks//{task_id}").json() == {"task_id": task_id, "status": "deleted"}
    assert api.get(f"/tasks///{task_id}").status_code == 404


@pytest.mark.parametrize(("method", "below"), [("GET", ""), ("DELETE", ""), ("GET", "/parts/0")])
def test_task_of_another_account_is_answered_like_an_unknown_one(
    api: Api, sign_up: SignUp, gone_url: str, method: str, below: str
) -> None:
    task_id, other = api.submit(gone_url)["task_id"], sign_up()
    foreign, unknown = (
        other.call(method, f"/tasks/{each}{below}", request_id="e2e-foreign-or-unknown")
        for each in (task_id, uuid.uuid4())
    )
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.json()["code"] == "task_not_found"
    assert foreign.content == unknown.content
    assert other.get("/tasks").json() == []
    assert api.get(f"/tasks/{task_id}").status_code == 200


def test_same_key_and_body_give_the_same_task(api: Api, gone_url: str) -> None:
    key = {"Idempotency-Key": f"key {uuid.uuid4()}"}
    first, again = api.submit(gone_url, **key), api.submit(gone_url, **key)
    assert first["task_id"] == again["task_id"]


def test_same_key_in_parallel_gives_one_task(sign_up: SignUp, gone_url: str) -> None:
    api, key = sign_up(), {"Idempotency-Key": str(uuid.uuid4())}
    with ThreadPoolExecutor(10) as pool:
        ids = set(pool.map(lambda _: api.submit(gone_url, **key)["task_id"], range(10)))
    assert [task["task_id"] for task in api.get("/tasks").json()] == list(ids)


def test_same_key_with_another_body_is_refused(api: Api, gone_url: str) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    api.submit(gone_url, **key)
    response = api.post("/tasks", {"url": f"{gone_url}?another"}, headers=key)
    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")


def test_idempotency_keys_are_separate_for_each_account(
    api: Api, sign_up: SignUp, gone_url: str
) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    assert api.submit(gone_url, **key)["task_id"] != sign_up().submit(gone_url, **key)["task_id"]


def test_longest_key_is_taken(api: Api, gone_url: str) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex.ljust(255, "~")}
    assert api.submit(gone_url, **key)["task_id"] == api.submit(gone_url, **key)["task_id"]


def test_task_is_kept_and_kept_no_longer(api: Api, site: Site, short_video: bytes) -> None:
    task = api.submit(site.add("kept.mp4", short_video))
    assert (task["keep"], task["expires_at"], task["expires_soon"]) == (False, None, False)
    api.finish(task["task_id"])
    for keep in (True, False):
        changed = api.call("PATCH", task["link"], json={"keep": keep})
        assert (changed.status_code, changed.json()["keep"]) == (200, keep)
    wrong = api.call("PATCH", task["link"], json={"keep": "yes"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_body")


def test_pages_and_filters(sign_up: SignUp, gone_url: str) -> None:
    api = sign_up()
    made = [api.submit(gone_url)["task_id"] for _ in range(5)]
    for name, task_id in zip("abcde", made, strict=True):
        change = {"name": f"Race {name}", "external_id": name}
        assert api.call("PATCH", f"/tasks/{task_id}", json=change).json()["name"] == f"Race {name}"

    def listed(target: str) -> list[str]:
        task_ids = []
        while target:
            response = api.get(target)
            assert response.status_code == 200
            task_ids += [task["task_id"] for task in response.json()]
            target = response.links.get("next", {}).get("url", "")
        return task_ids

    assert listed("/tasks?max=2") == made[::-1]
    assert listed("/tasks?max=2&order=0") == made
    assert listed("/tasks?external_id=b") == [made[1]]
    assert listed("/tasks?q=race%20C") == [made[2]]
    cursor = api.get("/tasks?max=2").links["next"]["url"]
    for refused in (sign_up().get(cursor), api.get(f"{cursor}x")):
        assert (refused.status_code, refused.json()["code"]) == (400, "cursor_invalid")


def test_poll_is_answered_304_until_something_changes(api: Api, gone_url: str) -> None:
    task_id = api.submit(gone_url)["task_id"]
    api.finish(task_id)
    for path in (f"/tasks/{task_id}", "/tasks?max=1"):
        tag = api.get(path).headers["ETag"]
        unchanged = api.get(path, headers={"If-None-Match": tag})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        api.call("PATCH", f"/tasks/{task_id}", json={"name": path})
        changed = api.get(path, headers={"If-None-Match": tag})
        assert changed.status_code == 200
        assert changed.headers["ETag"] != tag


def test_batch_from_post_to_delete(sign_up: SignUp, gone_url: str) -> None:
    api, key = sign_up(), {"Idempotency-Key": str(uuid.uuid4())}
    body = {"name": "Sunday", "items": [{"url": f"{gone_url}?{n}"} for n in range(3)]}
    response = api.post("/batches", body, headers=key)
    batch = response.json()
    assert (response.status_code, response.headers["Location"]) == (202, batch["link"])
    assert api.post("/batches", body, headers=key).json()["task_ids"] == batch["task_ids"]
    listed = api.get(f"/tasks?order=0&batch_id={batch['batch_id']}").json()
    assert [task["task_id"] for task in listed] == batch["task_ids"]
    for task_id in batch["task_ids"]:
        api.finish(task_id)
    shown = api.get(batch["link"])
    assert (shown.json()["counts"]["failed"], shown.json()["progress"]) == (3, 100)
    known = {"If-None-Match": shown.headers["ETag"]}
    assert api.get(batch["link"], headers=known).status_code == 304
    assert [each["batch_id"] for each in api.get("/batches").json()] == [batch["batch_id"]]
    assert sign_up().get(batch["link"]).json()["code"] == "batch_not_found"
    assert api.delete(batch["link"]).json() == {"batch_id": batch["batch_id"], "status": "deleted"}
    assert api.get("/tasks").json() == api.get("/batches").json() == []


def test_batch_with_wrong_items_is_refused_whole(sign_up: SignUp, gone_url: str) -> None:
    api = sign_up()
    response = api.post("/batches", {"items": [{"url": gone_url}, {"url": "ftp://example.com/v"}]})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_batch")
    assert [error["field"] for error in response.json()["errors"]] == ["items.1.url"]
    assert api.get("/tasks").json() == []


def test_batch_of_500_links_is_accepted(sign_up: SignUp, gone_url: str) -> None:
    api = sign_up()
    response = api.post("/batches", {"items": [{"url": f"{gone_url}?{'x' * 900}"}] * 500})
    assert (response.status_code, response.json()["total"]) == (202, 500)
    assert api.delete(response.json()["link"]).status_code in (200, 202)
