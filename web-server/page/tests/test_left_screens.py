"""What fails after its screen was left is shown all the same."""

import json
from typing import Any

from conftest import Visitor
from playwright.sync_api import FilePayload, Locator, Page, Route, expect
from running_system import RunningSystem

BUSY: dict[str, Any] = {
    "status": 503,
    "content_type": "application/problem+json",
    "body": json.dumps({"status": 503, "code": "tasks_unavailable"}),
}
PRIVATE = "http://10.0.0.1/a.mp4"


def _hold(visitor: Visitor, address: str) -> list[Route]:
    """Hold the calls that change something."""
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        if route.request.method == "GET":
            route.continue_()
        else:
            waiting.append(route)

    visitor.page.route(address, hold)
    return waiting


def _notice(page: Page) -> Locator:
    return page.locator(".notice")


def _send_and_leave(visitor: Visitor, links: str, address: str) -> Route:
    """Send the form and go to another screen before it is answered."""
    waiting = _hold(visitor, address)
    visitor.page.fill("#links", links)
    visitor.page.locator("form button.primary").click()
    visitor.wait_until(lambda: waiting, "the call")
    visitor.show("brand")
    return waiting[0]


def test_refusal_of_a_link_is_shown_on_another_screen(visitor: Visitor) -> None:
    page = visitor.page
    _send_and_leave(visitor, PRIVATE, "**/tasks").continue_()
    notice = _notice(page)
    expect(notice.get_by_role("alert")).to_contain_text("New")
    visitor.show("account")
    notice.get_by_role("link", name="New").click()
    expect(page.locator("form > .failure")).to_be_visible()
    expect(page.locator("#links")).to_have_value(PRIVATE)
    expect(notice).to_have_count(0)
    assert not [each for each in visitor.console_errors if each.startswith("error")]


def test_refusal_of_several_links_is_at_each_of_them(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    _send_and_leave(visitor, f"{video_url}\n{PRIVATE}", "**/batches").continue_()
    expect(_notice(page)).to_be_visible()
    visitor.show("new")
    refused = page.locator(".lines li", has=page.locator(".failure"))
    expect(refused).to_have_count(1)
    expect(refused).to_contain_text(PRIVATE)
    page.get_by_role("button", name="Leave out").click()
    expect(page.locator("#links")).to_have_value(video_url)


def test_link_that_is_being_sent_is_shown_as_such_on_return(
    visitor: Visitor, video_url: str
) -> None:
    page = visitor.page
    route = _send_and_leave(visitor, video_url, "**/tasks")
    visitor.show("new")
    expect(page.locator("form button.primary")).to_be_disabled()
    route.continue_()
    page.wait_for_url("**/#/task/*")


def test_refused_option_is_shown_at_its_field_on_return(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    page.locator("summary").click()
    page.fill("#start_s", "5")
    page.fill("#end_s", "4")
    _send_and_leave(visitor, video_url, "**/tasks").continue_()
    expect(_notice(page)).to_be_visible()
    assert not [each for each in visitor.console_errors if each.startswith("error")]
    visitor.show("new")
    expect(page.locator(".field .failure")).to_have_count(1)
    expect(page.locator("form button.primary")).to_be_enabled()


def test_refused_action_names_its_task(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 1)
    task_id = system.task_id(visitor.email, "Race 0")
    visitor.show(f"task/{task_id}")
    waiting = _hold(visitor, "**/tasks/*/retry")
    page.get_by_role("button", name="Retry").click()
    visitor.wait_until(lambda: waiting, "the call")
    visitor.show("account")
    waiting[0].fulfill(**BUSY)
    link = _notice(page).get_by_role("link", name="Race 0")
    expect(link).to_have_attribute("href", f"#/task/{task_id}")
    _notice(page).get_by_role("button", name="Close").click()
    expect(_notice(page)).to_have_count(0)
    expect(page.locator("main")).to_be_focused()


def test_file_that_fails_is_named_on_another_screen(visitor: Visitor) -> None:
    page = visitor.page
    waiting = _hold(visitor, "**/uploads")
    file = FilePayload(name="race.mp4", mimeType="video/mp4", buffer=b"0" * 1000)
    page.set_input_files("input[type=file]", file)
    visitor.wait_until(lambda: waiting, "the call")
    visitor.show("tasks")
    refused = {"status": 403, "code": "account_disabled"}
    waiting[0].fulfill(**{**BUSY, "status": 403, "body": json.dumps(refused)})
    _notice(page).get_by_role("link", name="race.mp4").click()
    expect(page.locator(".drop .failure")).to_be_visible()
    expect(_notice(page)).to_have_count(0)


def test_refusal_is_not_shown_to_the_next_account(visitor: Visitor) -> None:
    page = visitor.page
    _send_and_leave(visitor, PRIVATE, "**/tasks").continue_()
    expect(_notice(page)).to_be_visible()
    page.get_by_role("button", name="Log out", exact=True).click()
    page.wait_for_selector("#email")
    expect(_notice(page)).to_have_count(0)
    visitor.sign_up()
    expect(page.locator("form > .failure")).to_have_count(0)


def test_failed_log_out_is_shown_until_it_is_closed(visitor: Visitor) -> None:
    page = visitor.page
    page.route("**/auth/logout", lambda route: route.fulfill(**BUSY))
    page.get_by_role("button", name="Log out", exact=True).click()
    expect(_notice(page)).to_contain_text("still logged in")
    visitor.show("tasks")
    _notice(page).get_by_role("button", name="Close").press("Enter")
    expect(_notice(page)).to_have_count(0)
    expect(page.locator("main")).to_be_focused()
