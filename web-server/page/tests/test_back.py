"""Back and Forward: to the place in a list that was left, and at once."""

import pytest
from conftest import ROWS_A_PAGE, Visitor
from playwright.sync_api import Request, Route, expect
from running_system import RunningSystem

COUNT = 3 * ROWS_A_PAGE
SEEN = "(row) => (box => box.top >= 0 && box.bottom <= innerHeight)(row.getBoundingClientRect())"


def _is_seen(visitor: Visitor, name: str) -> bool:
    return visitor.page.locator(".row-link", has_text=name).evaluate(SEEN) is True


@pytest.mark.parametrize("is_by_key", [False, True])
def test_back_leads_to_the_row_that_was_opened(
    visitor: Visitor, system: RunningSystem, is_by_key: bool
) -> None:
    """Below rows that "show more" has added; its link is focused again."""
    page = visitor.page
    system.add_tasks(visitor.email, COUNT)
    visitor.show("tasks")
    visitor.show_rows(COUNT)
    name = f"Race {COUNT - 7}"
    row = page.locator(".row-link", has_text=name)
    row.scroll_into_view_if_needed()
    top = page.evaluate("scrollY")
    assert top > 1000
    if is_by_key:
        row.press("Enter")
    else:
        row.click()
    page.get_by_role("heading", name=name).wait_for()
    assert page.evaluate("scrollY") == 0
    page.go_back()
    expect(page.locator(".row")).to_have_count(COUNT)
    visitor.wait_until(lambda: _is_seen(visitor, name), "the row in sight")
    expect(row).to_be_focused()
    page.go_forward()
    page.get_by_role("heading", name=name).wait_for()
    visitor.wait_true("scrollY === 0")


def test_link_to_a_screen_leads_to_its_top(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, ROWS_A_PAGE)
    visitor.show("tasks")
    expect(page.locator(".row")).to_have_count(ROWS_A_PAGE)
    page.locator(".row-link").last.click()
    page.locator(".crumb a").click()
    expect(page.locator(".row")).to_have_count(ROWS_A_PAGE)
    page.wait_for_timeout(300)
    assert page.evaluate("scrollY") == 0


def test_place_is_kept_by_a_reload(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, ROWS_A_PAGE)
    visitor.show("tasks")
    page.locator(".row-link").nth(25).scroll_into_view_if_needed()
    top = page.evaluate("scrollY")
    assert top > 500
    page.reload()
    # Rows that were not painted yet are a little higher or lower than was assumed.
    visitor.wait_until(lambda: abs(page.evaluate("scrollY") - top) < 100, "the place")


def test_user_who_scrolls_is_not_moved(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, ROWS_A_PAGE)
    visitor.show("tasks")
    page.locator(".row-link").nth(25).scroll_into_view_if_needed()
    waiting: list[Route] = []
    page.route("**/tasks?*", lambda route: waiting.append(route))
    page.reload()
    page.wait_for_selector(".skeleton")
    page.mouse.move(400, 400)
    page.evaluate("addEventListener('wheel', () => { window.isTurned = true }, {passive: true})")
    page.mouse.wheel(0, -10)
    visitor.wait_true("window.isTurned")
    for route in waiting:  # of before the reload, too
        route.continue_()
    page.unroute("**/tasks?*")
    expect(page.locator(".row")).to_have_count(ROWS_A_PAGE)
    page.wait_for_timeout(300)
    assert page.evaluate("scrollY") == 0


def test_screen_that_was_seen_is_there_at_once(visitor: Visitor, system: RunningSystem) -> None:
    """With what it showed last, until the system has answered."""
    page = visitor.page
    system.add_tasks(visitor.email, 3)
    visitor.show("tasks")
    visitor.show("account")
    calls: list[Request] = []
    page.route("**/tasks?*", lambda route: calls.append(route.request))
    visitor.open("tasks")
    expect(page.locator(".row")).to_have_count(3)
    visitor.wait_until(lambda: calls, "the call")
    assert calls[0].headers["if-none-match"]


def test_deleted_task_is_not_shown_again(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 3)
    visitor.show("tasks")
    page.locator(".row-link", has_text="Race 1").click()
    page.get_by_role("button", name="Delete").click()
    page.route("**/tasks?*", lambda _: None)
    page.locator("dialog .primary").click()
    page.wait_for_url("**/#/tasks")
    page.wait_for_selector("h1")
    page.wait_for_timeout(300)
    expect(page.locator(".row", has_text="Race 1")).to_have_count(0)


def _log_out(visitor: Visitor) -> None:
    visitor.page.get_by_role("button", name="Log out", exact=True).click()
    visitor.page.wait_for_selector("#email")


def _see_no_rows_as_the_next_account(visitor: Visitor) -> None:
    """Sign up as another; no call for its list is answered."""
    visitor.sign_up()
    visitor.open("tasks")
    visitor.page.wait_for_selector(".skeleton")
    visitor.page.wait_for_timeout(300)
    expect(visitor.page.locator(".row")).to_have_count(0)


def test_next_account_sees_no_screen_of_the_first(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 3)
    visitor.show("tasks")
    _log_out(visitor)
    page.route("**/tasks?*", lambda _: None)
    _see_no_rows_as_the_next_account(visitor)


def test_late_answer_to_the_first_account_is_not_shown_to_the_next(
    visitor: Visitor, system: RunningSystem
) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 3)
    visitor.show("tasks")
    rows = visitor.context.request.get(f"{visitor.base_url}/tasks?max=30").json()
    waiting: list[Route] = []
    page.route("**/tasks?*", lambda route: waiting.append(route))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    visitor.wait_until(lambda: waiting, "the call")
    _log_out(visitor)
    with page.expect_response("**/tasks?*"):
        waiting[0].fulfill(json=rows)
    _see_no_rows_as_the_next_account(visitor)


def test_title_of_the_log_in_screen_does_not_name_the_account(
    visitor: Visitor, system: RunningSystem
) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 1)
    visitor.show(f"task/{system.task_id(visitor.email, 'Race 0')}")
    expect(page).to_have_title("Race 0 · idrl")
    _log_out(visitor)
    expect(page).to_have_title("Log in · idrl")


def test_back_closes_the_list_of_keys(visitor: Visitor) -> None:
    page = visitor.page
    visitor.show("brand")
    visitor.show("account")
    page.locator("main").focus()
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keyboard shortcuts").wait_for()
    page.go_back()
    page.wait_for_selector("#brand-name")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator("main")).to_be_focused()
