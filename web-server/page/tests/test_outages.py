"""No network, a slow one, a service that is gone: nothing is lost, and nothing is done twice."""

import os
import re
import signal
from collections.abc import Callable

import pytest
from conftest import WORK_LIMIT_MS, Visitor, lose_answer
from playwright.sync_api import Route, expect
from running_system import RunningSystem

ASK_NOW = "document.dispatchEvent(new Event('visibilitychange'))"
OFFLINE_MS = 10_000
SLOW = {"offline": False, "latency": 500, "downloadThroughput": 50_000, "uploadThroughput": 50_000}


def _task_ids(visitor: Visitor) -> list[str]:
    tasks = visitor.context.request.get(f"{visitor.base_url}/tasks").json()
    return [task["task_id"] for task in tasks]


def _wait_for_banner(visitor: Visitor) -> None:
    """Ask, and wait until the call has failed: nginx waits for a service that hangs."""
    visitor.page.evaluate(ASK_NOW)
    visitor.page.locator(".banner").wait_for(timeout=WORK_LIMIT_MS)


def test_offline_for_ten_seconds(timed_visitor: Visitor, video_url: str) -> None:
    visitor = timed_visitor
    page = visitor.page
    task_id = visitor.submit(video_url)
    page.wait_for_selector(".card")
    visitor.context.set_offline(True)
    _wait_for_banner(visitor)
    page.clock.run_for(OFFLINE_MS)
    expect(page.locator(".banner")).to_have_count(1)
    expect(page.locator(".card")).not_to_have_count(0)
    visitor.open("new")
    page.fill("#links", video_url)
    page.locator("form button.primary").click()
    page.wait_for_selector("form > .failure")
    visitor.context.set_offline(False)
    page.locator(".banner").wait_for(state="detached")
    expect(page.locator("#links")).to_have_value(video_url)
    visitor.open(f"task/{task_id}")
    visitor.wait_done()
    assert _task_ids(visitor) == [task_id]


def test_slow_network(visitor: Visitor, video_url: str) -> None:
    """500 ms of delay and 50 kB a second, from the first load on."""
    page = visitor.page
    session = visitor.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", SLOW)
    page.reload()
    page.fill("#links", video_url)
    page.locator("form button.primary").dblclick()
    page.wait_for_url("**/#/task/*")
    visitor.wait_done()
    assert len(_task_ids(visitor)) == 1


def test_header_is_there_before_the_script(visitor: Visitor) -> None:
    """On a slow network the page is not blank; the script replaces the header by its own."""
    page = visitor.page
    waiting: list[Route] = []
    page.route("**/app.js", lambda route: waiting.append(route))
    page.goto(visitor.base_url, wait_until="commit")
    expect(page.locator("header .brand")).to_be_visible()
    visitor.wait_until(lambda: waiting, "the script")
    waiting[0].continue_()
    page.wait_for_selector("#links")
    expect(page.locator("header .brand")).to_have_count(1)


def _is_accepted(visitor: Visitor, link: str) -> bool:
    """Send the form; where the system does not answer, what was typed is still there."""
    visitor.page.locator("form button.primary").click()
    # The form stays as it is after a failure, until it is sent again.
    failed = visitor.page.locator("form:has(button.primary:enabled) > .failure")
    failed.or_(visitor.page.locator(".title-row")).wait_for(timeout=WORK_LIMIT_MS)
    if not failed.count():
        return True
    expect(visitor.page.locator("#links")).to_have_value(link)
    return False


@pytest.mark.parametrize("program", ["tasks", "web"])
def test_service_is_killed(
    visitor: Visitor, system: RunningSystem, video_url: str, program: str
) -> None:
    """The banner comes and goes by itself, and a link sent meanwhile makes one task.

    The service hangs first: callers of one that is killed wait until the system has started it
    again, and see nothing of it.
    """
    page = visitor.page
    visitor.open("tasks")
    page.wait_for_selector(".empty")
    group = system.process_group(program)
    os.killpg(group, signal.SIGSTOP)
    _wait_for_banner(visitor)
    os.killpg(group, signal.SIGKILL)
    visitor.open("new")
    page.fill("#links", video_url)
    visitor.wait_until(lambda: _is_accepted(visitor, video_url), "an answer")
    page.locator(".banner").wait_for(state="detached", timeout=WORK_LIMIT_MS)
    visitor.wait_done()
    assert len(_task_ids(visitor)) == 1


@pytest.mark.parametrize("links", [1, 2])
def test_lost_answer_makes_no_second_task(visitor: Visitor, video_url: str, links: int) -> None:
    page = visitor.page
    answers: list[Callable[[Route], None]] = [lose_answer, Route.continue_]
    for address in ("**/tasks", "**/batches"):
        page.route(address, lambda route: (answers.pop(0) if answers else Route.continue_)(route))
    page.fill("#links", "\n".join(f"{video_url}?{n}" for n in range(links)))
    page.locator("form button.primary").click()
    page.wait_for_selector("form > .failure")
    assert len(_task_ids(visitor)) == links
    page.locator("form button.primary").click()
    page.wait_for_url(re.compile("#/(task|batch)/"))
    assert len(_task_ids(visitor)) == links
    # Other content is another request.
    visitor.submit(f"{video_url}?other")
    assert len(_task_ids(visitor)) == links + 1


def test_pictures_come_after_the_network_has(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    visitor.submit(video_url)
    visitor.wait_done()
    page.route("**/poster.jpg", lambda route: route.abort())
    visitor.open("tasks")
    page.locator(".row .poster:not(:has(img))").wait_for()
    visitor.context.set_offline(True)
    _wait_for_banner(visitor)
    page.unroute("**/poster.jpg")
    visitor.context.set_offline(False)
    page.locator(".banner").wait_for(state="detached")
    page.locator(".row .poster img").wait_for()


def test_header_and_banner_agree(timed_visitor: Visitor) -> None:
    """The system is asked how it is once a minute: "Online" stood beside "No connection."."""
    visitor = timed_visitor
    page = visitor.page
    visitor.show("tasks")
    page.locator(".empty").wait_for()
    visitor.pause_clock()
    visitor.context.set_offline(True)

    def is_banner_shown_later() -> bool:
        page.clock.run_for(50)
        return page.locator(".banner").is_visible()

    # In steps: the pause until the next call begins with an answer that may still be on its way.
    visitor.wait_until(is_banner_shown_later)
    page.clock.run_for(1_000)
    expect(page.locator(".system")).to_contain_text("Not reachable")
    visitor.context.set_offline(False)
    page.clock.resume()
    page.locator(".banner").wait_for(state="detached")
    expect(page.locator(".system")).to_contain_text("Online")
