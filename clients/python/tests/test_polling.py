"""How `idrl clip` follows a task: with its entity tag, and rarely where nothing changes."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from idrl_client import Client, clipping
from idrl_client.clipping import Job
from idrl_testing import site as web_site
from idrl_testing.site import Request, Site

QUEUED_POLLS = 6


@contextmanager
def _task(states: list[tuple[str, int]]) -> Iterator[tuple[Site, list[str | None]]]:
    """Serve a task that has each of these statuses for so many calls; note the tags sent."""
    statuses = [status for status, count in states for _ in range(count)]
    tags: list[str | None] = []

    def answer(request: Request) -> None:
        status = statuses[min(request.count, len(statuses)) - 1]
        tags.append(request.headers["If-None-Match"])
        if tags[-1] == f'"{status}"':
            request.send(304, headers={"ETag": f'"{status}"'})
            return
        document: dict[str, object] = {"task_id": "t", "status": status, "parts": [], "error": None}
        request.send(200, json.dumps(document).encode(), {"ETag": f'"{status}"'})

    with web_site.serve() as site:
        site.add("tasks/t", answer=answer)
        yield site, tags


@pytest.fixture
def pauses_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The client's pauses, which end at once; threads of earlier tests do sleep."""
    pauses_s: list[float] = []
    client, sleep = threading.current_thread(), time.sleep

    def pause(seconds: float) -> None:
        if threading.current_thread() is client:
            pauses_s.append(seconds)
        else:
            sleep(seconds)

    monkeypatch.setattr(time, "sleep", pause)
    return pauses_s


def test_unchanged_task_is_not_sent_again(pauses_s: list[float]) -> None:
    states = [("queued", QUEUED_POLLS), ("processing", 2), ("done", 1)]
    with _task(states) as (site, tags):
        job = Job("https://a.example/v.mp4", task_id="t")
        clipping.follow(Client(site.url, "k"), [job], None, lambda _: None)
    queued, processing = ['"queued"'] * QUEUED_POLLS, ['"processing"'] * 2
    assert tags == [None, *queued, *processing]
    assert job.status == "done"
    assert "tag" not in job.document()
    assert pauses_s[0] == pauses_s[QUEUED_POLLS] == 1.0  # something has changed
    assert pauses_s[1:QUEUED_POLLS] == sorted(pauses_s[1:QUEUED_POLLS])
    assert max(pauses_s) == 5.0


def test_system_without_tags_is_polled_each_second(pauses_s: list[float]) -> None:
    statuses = iter(["queued"] * 3 + ["done"])

    def answer(request: Request) -> None:
        document: dict[str, object] = {
            "task_id": "t",
            "status": next(statuses),
            "parts": [],
            "error": None,
        }
        request.send(200, json.dumps(document).encode())

    with web_site.serve() as site:
        site.add("tasks/t", answer=answer)
        job = Job("https://a.example/v.mp4", task_id="t")
        clipping.follow(Client(site.url, "k"), [job], None, lambda _: None)
    assert pauses_s == [1.0, 1.0, 1.0]
