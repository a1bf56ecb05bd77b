"""Long lists, and what is done with many rows at once."""

import json
from typing import Any

from conftest import PASSWORD, Visitor
from playwright.sync_api import Route
from running_system import RunningSystem

PAGE = 30
BUSY: dict[str, Any] = {
    "status": 503,
    "content_type": "application/problem+json",
    "body": json.dumps({"status": 503, "code": "tasks_unavailable"}),
}
REFUSED: dict[str, Any] = {
    **BUSY,
    "status": 403,
    "body": json.dumps({"status": 403, "code": "account_disabled"}),
}


def _show_all(visitor: Visitor, count: int) -> None:
    rows = visitor.page.locator(".row")
    visitor.page.wait_for_selector(".row")
    while rows.count() < count:
        with visitor.page.expect_response(lambda answer: "cursor=" in answer.url):
            visitor.page.get_by_role("button", name="Show more").click()
        visitor.page.wait_for_timeout(20)


def test_typing_a_search_leaves_the_list_alone(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 3)
    visitor.open("tasks")
    page.locator(".row input").first.check()
    calls: list[str] = []
    page.on("request", lambda request: calls.append(request.url))
    page.locator("#search").press_sequentially("Race 1")
    assert page.locator(".bulk").count() == 1
    assert len([url for url in calls if "/tasks?" in url]) <= 1  # that of five seconds
    page.locator("#search").press("Enter")
    page.locator(".row", has_text="Race 0").wait_for(state="detached")
    assert page.locator(".row").count() == 1


def test_search_is_still_there_after_a_look_at_a_task(
    visitor: Visitor, system: RunningSystem
) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 3)
    visitor.open("tasks")
    page.get_by_role("button", name="Failed").click()
    page.fill("#search", "Race 1")
    page.locator("#search").press("Enter")
    page.locator(".row", has_text="Race 0").wait_for(state="detached")
    page.locator(".row-link").click()
    page.wait_for_url("**/#/task/*")
    page.go_back()
    page.wait_for_selector(".row")
    assert page.locator(".row").count() == 1
    assert page.input_value("#search") == "Race 1"
    assert page.locator(".chip[aria-pressed=true]").inner_text() == "Failed"


def test_many_are_deleted_after_one_question(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, PAGE + 5)
    visitor.open("tasks")
    _show_all(visitor, PAGE + 5)
    page.locator(".row input").first.check()
    page.get_by_role("button", name=f"Select all {PAGE + 5} shown").click()
    page.locator(".bulk .danger").click()
    page.get_by_role("dialog", name=f"Delete {PAGE + 5} tasks?").wait_for()
    page.get_by_role("button", name="Keep it").click()
    assert page.locator(".row").count() == PAGE + 5
    page.locator(".bulk .danger").click()
    page.locator("dialog .primary").click()
    page.wait_for_selector(".empty")
    assert visitor.context.request.get(f"{visitor.base_url}/tasks").json() == []


def test_refused_deletion_is_shown_and_stays_chosen(
    visitor: Visitor, system: RunningSystem
) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 2)
    visitor.open("tasks")
    page.locator(".row input").first.check()
    page.route("**/tasks/*", lambda route: route.fulfill(**REFUSED))
    page.locator(".bulk .danger").click()
    page.locator("dialog .primary").click()
    page.locator(".failure", has_text="disabled").wait_for()
    assert page.locator(".row input").first.is_checked()
    page.unroute_all()
    page.locator(".bulk .danger").click()
    page.locator("dialog .primary").click()
    page.locator(".row >> nth=1").wait_for(state="detached")
    assert page.locator(".failure").count() == 0


def test_busy_system_gets_the_deletion_again(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 1)
    visitor.open("tasks")
    page.locator(".row input").check()
    busy = [429, 503]

    def answer(route: Route) -> None:
        if busy:
            route.fulfill(**{**BUSY, "status": busy.pop()})
        else:
            route.continue_()

    page.route("**/tasks/*", answer)
    page.locator(".bulk .danger").click()
    page.locator("dialog .primary").click()
    page.wait_for_selector(".empty")


def test_more_rows_that_do_not_come(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, PAGE + 1)
    visitor.open("tasks")
    page.route("**/tasks?*cursor*", lambda route: route.fulfill(**BUSY))
    page.get_by_role("button", name="Show more").click()
    page.locator(".failure").wait_for()
    page.unroute_all()
    page.get_by_role("button", name="Show more").click()
    page.wait_for_selector(f".row >> nth={PAGE}")
    assert page.locator(".failure").count() == 0


def test_no_row_is_lost_when_new_ones_come(
    visitor: Visitor, system: RunningSystem, video_url: str
) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, PAGE + 5)
    visitor.open("tasks")
    _show_all(visitor, PAGE + 5)
    for count in (1, 2):
        answer = visitor.context.request.post(
            f"{visitor.base_url}/tasks",
            data={"url": f"{video_url}?{count}"},
            headers={"Sec-Fetch-Site": "same-origin"},
        )
        assert answer.ok
        page.wait_for_selector(f".row >> nth={PAGE + 4 + count}")
    names = page.locator(".row strong").all_text_contents()  # of rows out of sight, too
    assert names[2:] == [f"Race {n}" for n in range(PAGE + 5)]


def test_what_did_not_load_is_asked_for_again(visitor: Visitor) -> None:
    page = visitor.page
    for address in ("usage", "me/keys", "webhooks"):
        page.route(f"**/{address}", lambda route: route.fulfill(**BUSY))
    visitor.open("account")
    page.wait_for_selector("main .failure >> nth=2")
    page.unroute_all()
    page.locator(".usage").wait_for()
    visitor.wait_true("!document.querySelector('main .failure')")


def test_key_is_revoked_after_a_question(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open("account")
    page.fill("#key-name", "laptop")
    page.get_by_role("button", name="Make a key").click()
    page.wait_for_selector("dialog .code")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Revoke laptop").press("Enter")
    page.get_by_role("dialog", name="Revoke laptop?").wait_for()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.ariaLabel") == "Revoke laptop"
    page.keyboard.press("Enter")
    page.locator("dialog .primary").press("Enter")
    page.get_by_role("button", name="Revoke laptop").wait_for(state="detached")
    assert visitor.context.request.get(f"{visitor.base_url}/me/keys").json() == []
    visitor.wait_true("document.activeElement.id === 'main'")


def test_session_that_ends_before_a_form_with_a_password(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open("account")
    page.get_by_role("button", name="Delete the account").click()
    page.fill("#delete-password", "wrong")
    page.locator("dialog .danger.primary").click()
    page.get_by_text("The current password is wrong.").wait_for()
    visitor.context.clear_cookies()
    page.locator("dialog .danger.primary").click()
    login = page.get_by_role("dialog", name="Log in again")
    login.locator("#password").fill(PASSWORD)
    login.locator("button.primary").click()
    login.wait_for(state="detached")
    assert page.input_value("#delete-password") == "wrong"
    assert visitor.context.request.get(f"{visitor.base_url}/me").ok
