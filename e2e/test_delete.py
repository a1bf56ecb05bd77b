"""Aborting a live task and removing a finished one."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from blackbox.client import FINISHED, Api, Task

from idrl_testing import samples, site as web_site


@pytest.fixture(scope="module")
def long_video(site: web_site.Site, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A URL whose parts take long enough to be caught in the making: large and not copied."""
    target = tmp_path_factory.mktemp("long") / "long.mp4"
    return site.add(
        "long.mp4", samples.encode(target, *samples.picture("1600x1000", 30), *samples.FAST)
    )


@pytest.fixture
def endless(site: web_site.Site, short_video: bytes) -> str:
    """A URL whose download does not come to an end."""
    return site.add("endless.mp4", short_video, web_site.stalls_midway)


def abort(api: Api, task: Task) -> None:
    """Abort a live task: then it is canceled, and nothing of it can be had."""
    response = api.delete(task["link"])
    assert (response.status_code, response.json()["status"]) in (
        (200, "canceled"),
        (202, "canceling"),
    )
    canceled = api.finish(task["task_id"])
    assert canceled["status"] == "canceled"
    assert canceled["finished_at"] is not None
    assert canceled["canceled_in_ms"] >= 0
    assert canceled["freed_bytes"] >= 0
    for number in range(max(1, len(task.get("parts", [])))):
        part = api.get(f"{task['link']}/parts/{number}")
        assert (part.status_code, part.json()["code"]) == (404, "part_not_found")


def remove(api: Api, task: Task) -> None:
    """Remove a task that nothing happens to any more: then it does not exist."""
    response = api.delete(task["link"])
    assert (response.status_code, response.json()) == (
        200,
        {"task_id": task["task_id"], "status": "deleted"},
    )
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/parts/0")):
        gone = api.call(method, task["link"] + path)
        assert (gone.status_code, gone.json()["code"]) == (404, "task_not_found")
    assert task["task_id"] not in [each["task_id"] for each in api.get("/tasks?max=1000").json()]


def test_abort_while_a_part_is_rendered(api: Api, long_video: str) -> None:
    task_id = api.submit(long_video)["task_id"]

    def rendering(task: Task) -> bool:
        assert task["status"] not in FINISHED, task["error"]
        return any(part["status"] == "rendering" and part["progress"] > 0 for part in task["parts"])

    task = api.wait_for(task_id, rendering)
    abort(api, task)
    remove(api, task)


def test_abort_while_the_source_is_downloaded(api: Api, endless: str) -> None:
    task_id = api.submit(endless)["task_id"]
    task = api.wait_for(task_id, lambda each: each["status"] == "downloading")
    assert task["parts"] == []
    abort(api, task)
    remove(api, task)


def test_abort_at_once(api: Api, long_video: str) -> None:
    task = api.submit(long_video)
    abort(api, task)
    remove(api, task)


def test_abort_many_times_in_parallel(api: Api, endless: str) -> None:
    task = api.submit(endless)
    api.wait_for(task["task_id"], lambda each: each["status"] == "downloading")
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: api.delete(task["link"]).status_code, range(10)))
    # Once it is canceled, one more call removes it.
    assert set(answers) <= {200, 202, 404}
    final = api.get(task["link"])
    if final.status_code == 200:
        assert api.finish(task["task_id"])["status"] == "canceled"
    else:
        assert answers.count(200) >= 1


def test_remove_what_is_done(api: Api, site: web_site.Site, short_video: bytes) -> None:
    task = api.finish(api.submit(site.add("short.mp4", short_video))["task_id"])
    assert task["status"] == "done", task["error"]
    # Often enough for nginx to cache the clip, which must not help afterwards.
    assert [api.download(task["parts"][0]).status_code for _ in range(3)] == [200] * 3
    remove(api, task)


def test_remove_what_failed(api: Api, site: web_site.Site) -> None:
    task = api.finish(api.submit(site.add("nothing.mp4", b"no video"))["task_id"])
    assert task["status"] == "failed"
    remove(api, task)


def test_next_task_continues_after_an_abort(
    api: Api, site: web_site.Site, long_video: str, short_video: bytes
) -> None:
    aborted = api.submit(long_video)
    other = api.submit(site.add("next.mp4", short_video))
    abort(api, aborted)
    finished = api.finish(other["task_id"])
    assert finished["status"] == "done", finished["error"]
