"""What is shown after something has changed: elsewhere, or by an action of the same screen."""

import json
import re

from conftest import Visitor
from playwright.sync_api import FilePayload, Route, expect
from running_system import RunningSystem
from test_uploads_elsewhere import PIECES


def test_file_canceled_and_chosen_again_at_once(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    content = visitor.context.request.get(video_url).body()
    file = FilePayload(name="lap.mp4", mimeType="video/mp4", buffer=content)
    page.evaluate("Object.defineProperty(File.prototype, 'lastModified', {get: () => 1})")
    routes: dict[str, list[Route]] = {"PATCH": [], "DELETE": []}
    page.route(
        PIECES,
        lambda route: (
            routes[route.request.method].append(route)
            if route.request.method in routes
            else route.continue_()
        ),
    )
    page.set_input_files("input[type=file]", file)
    visitor.wait_until(lambda: routes["PATCH"], "a piece")
    page.get_by_role("button", name="Cancel the upload of lap.mp4").click()
    page.set_input_files("input[type=file]", file)
    visitor.wait_until(lambda: len(routes["PATCH"]) > 1, "a piece of the second")
    visitor.wait_until(lambda: routes["DELETE"], "the deletion of the first")
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        routes["DELETE"][0].continue_()
    routes["PATCH"][1].continue_()
    page.unroute(PIECES)
    page.wait_for_url("**/#/task/*")
    assert visitor.context.request.get(f"{visitor.base_url}/uploads").json() == []


def test_chosen_tasks_that_are_gone_are_not_counted(
    visitor: Visitor, system: RunningSystem
) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 3)
    visitor.open("tasks")
    visitor.show_rows(3)
    for place in (0, 1):
        page.locator(".row input").nth(place).check()
    expect(page.locator(".bulk span")).to_have_text("2 selected")
    task_id = system.task_id(visitor.email, "Race 0")
    system.execute(f"DELETE FROM tasks WHERE id = '{task_id}'")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(".row")).to_have_count(2)
    expect(page.locator(".bulk span")).to_have_text("1 selected")


def test_batch_continues_where_its_tasks_are_retried(visitor: Visitor) -> None:
    page = visitor.page
    counts = {"done": 0, "failed": 1}
    row = {
        "task_id": "a", "link": "/tasks/a", "name": "Lap", "url": "http://a.example/a.mp4",
        "status": "failed", "progress": 0, "parts_done": 0, "created_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip

    def answer(route: Route) -> None:
        if route.request.method == "POST":
            counts.update(failed=0)
            row.update(status="queued")
        is_list = "/tasks?" in route.request.url
        batch = {
            "batch_id": "b", "name": "Sunday", "total": 1, "counts": counts, "eta_s": None,
            "progress": 100 * counts["failed"],
        }  # fmt: skip
        route.fulfill(content_type="application/json", body=json.dumps([row] if is_list else batch))

    page.route("**/batches/b", answer)
    page.route("**/tasks?batch_id=b&max=30", answer)
    page.route("**/tasks/a/retry", answer)
    visitor.open("batch/b")
    page.locator(".row input").check()
    page.locator(".bulk").get_by_role("button", name="Retry").click()
    expect(page.locator(".row .status")).to_have_class("status queued")
    expect(page.locator(".progress p").first).to_have_text("0/1 videos done")
    expect(page.locator("main > div > .progress progress")).to_have_count(1)


def test_tab_keeps_a_tasks_name_in_the_other_language(
    visitor: Visitor, system: RunningSystem
) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 1)
    visitor.show(f"task/{system.task_id(visitor.email, 'Race 0')}")
    expect(page).to_have_title("Race 0 · idrl")
    page.select_option("#language", "es")
    expect(page.locator("html")).to_have_attribute("lang", "es")
    page.wait_for_timeout(300)
    expect(page).to_have_title("Race 0 · idrl")


def test_fault_of_one_clip_is_not_shown_at_the_next(
    visitor: Visitor, system: RunningSystem
) -> None:
    page = visitor.page
    task_id = system.add_long_task(visitor.email, 8)
    page.route("**/parts/*", lambda route: route.fulfill(status=410, body="{}"))
    visitor.show(f"task/{task_id}")
    page.locator(".card .picture").first.click()
    page.locator("dialog .failure").wait_for()
    page.unroute("**/parts/*")
    page.route("**/parts/*", lambda _: None)
    page.get_by_role("button", name="Next").click()
    expect(page.locator("dialog h2")).to_contain_text("Clip 2")
    expect(page.locator("dialog .failure")).to_have_count(0)


def test_question_is_about_the_task_as_it_is_by_now(
    visitor: Visitor, system: RunningSystem
) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 1, "queued")
    visitor.show(f"task/{system.task_id(visitor.email, 'Race 0')}")
    page.get_by_role("button", name="Abort").click()
    page.get_by_role("dialog", name="Abort this task?").wait_for()
    system.set_status(visitor.email, "Race 0", "done")
    page.get_by_role("dialog", name="Delete this task?").wait_for()
    page.get_by_role("button", name="Keep it").click()
    expect(page.locator("dialog")).to_have_count(0)
    expect(page.locator(".title-row .status")).to_have_class("status done")


def test_abort_of_a_task_that_has_just_ended_leaves_its_screen(
    visitor: Visitor, system: RunningSystem
) -> None:
    """It is deleted: there is nothing left that could be shown."""
    page = visitor.page
    system.add_tasks(visitor.email, 1, "queued")
    visitor.show(f"task/{system.task_id(visitor.email, 'Race 0')}")
    page.get_by_role("button", name="Abort").click()
    # Of the next polls nothing arrives.
    page.route(
        "**/tasks/*",
        lambda route: route.continue_() if route.request.method == "DELETE" else None,
    )
    system.set_status(visitor.email, "Race 0", "done")
    page.locator("dialog .primary").click()
    expect(page.locator("[role=status]").last).to_have_text("Deleted.")
    page.locator(".empty").wait_for()
    expect(page).to_have_url(re.compile("#/tasks$"))


def test_task_that_was_retried_elsewhere_is_aborted_not_deleted(
    visitor: Visitor, system: RunningSystem
) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 1)
    task_id = system.task_id(visitor.email, "Race 0")
    visitor.show(f"task/{task_id}")
    page.get_by_role("button", name="Delete").click()
    system.set_status(visitor.email, "Race 0", "queued")
    page.locator("dialog .primary").click()
    expect(page.locator("[role=status]").last).to_have_text("Aborted.")
    expect(page).to_have_url(re.compile(f"#/task/{task_id}$"))
    expect(page.locator(".title-row .status")).to_have_class("status canceled")


def test_question_about_tasks_that_are_gone_is_closed(
    visitor: Visitor, system: RunningSystem
) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 2)
    visitor.open("tasks")
    page.locator(".row input").first.check()
    page.locator(".bulk .danger").click()
    page.get_by_role("dialog", name="Delete one task?").wait_for()
    task_id = system.task_id(visitor.email, "Race 0")
    system.execute(f"DELETE FROM tasks WHERE id = '{task_id}'")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(".row")).to_have_count(1)
    expect(page.locator("dialog")).to_have_count(0)


def test_deleted_rows_are_in_no_other_filter(visitor: Visitor, system: RunningSystem) -> None:
    """A filter begins with what it showed last, until the system has answered."""
    page = visitor.page
    system.add_tasks(visitor.email, 3)
    visitor.show("tasks")
    for name in ("Failed", "All"):
        page.get_by_role("button", name=name, exact=True).click()
        expect(page.locator(".row")).to_have_count(3)
    page.locator(".row input").first.check()
    page.locator(".bulk .danger").click()
    page.locator("dialog .primary").click()
    expect(page.locator(".row")).to_have_count(2)
    page.route("**/tasks?*", lambda _: None)
    page.get_by_role("button", name="Failed", exact=True).click()
    page.wait_for_timeout(300)
    expect(page.locator(".row", has_text="Race 0")).to_have_count(0)
