"""The filter and the search of the list of tasks are in the URL: for Back, a reload and others."""

from conftest import PASSWORD, NewVisitor, Visitor
from playwright.sync_api import Locator, Page, expect
from running_system import RunningSystem


def _chip(page: Page, name: str) -> Locator:
    return page.locator(".chip", has_text=name)


def _expect_chosen(page: Page, name: str, rows: int) -> None:
    expect(page.locator(".chip[aria-pressed=true]")).to_have_text(name)
    expect(page.locator(".row")).to_have_count(rows)


def _add_three_kinds(visitor: Visitor, system: RunningSystem) -> None:
    for count, status in enumerate(("failed", "canceled", "planned"), 1):
        system.add_tasks(visitor.email, count, status)


def test_filter_and_search_are_kept_by_a_reload(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    _add_three_kinds(visitor, system)
    visitor.show("tasks")
    _chip(page, "Planned").press("Enter")
    _expect_chosen(page, "Planned", 3)
    expect(_chip(page, "Planned")).to_be_focused()
    page.fill("#search", "Race 2")
    page.locator("#search").press("Enter")
    _expect_chosen(page, "Planned", 1)
    page.reload()
    _expect_chosen(page, "Planned", 1)
    expect(page.locator("#search")).to_have_value("Race 2")
    page.fill("#search", "")
    _expect_chosen(page, "Planned", 3)
    page.reload()
    _expect_chosen(page, "Planned", 3)


def test_back_leads_to_the_filter_before(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    _add_three_kinds(visitor, system)
    visitor.show("tasks")
    _chip(page, "Aborted").click()
    page.fill("#search", "Race 1")
    page.locator("#search").press("Enter")
    _expect_chosen(page, "Aborted", 1)
    _chip(page, "Failed").click()
    _expect_chosen(page, "Failed", 0)
    page.go_back()
    _expect_chosen(page, "Aborted", 1)
    page.go_back()
    _expect_chosen(page, "Aborted", 2)
    expect(page.locator("#search")).to_have_value("")
    page.go_back()
    _expect_chosen(page, "All", 6)
    page.go_forward()
    _expect_chosen(page, "Aborted", 2)


def test_link_to_a_filter_is_followed_after_a_log_in(
    visitor: Visitor, new_visitor: NewVisitor, system: RunningSystem
) -> None:
    _add_three_kinds(visitor, system)
    visitor.show("tasks")
    _chip(visitor.page, "Failed").click()
    _expect_chosen(visitor.page, "Failed", 1)
    page = new_visitor().page
    page.goto(visitor.page.url)
    page.fill("#email", visitor.email)
    page.fill("#password", PASSWORD)
    page.locator("form button.primary").click()
    _expect_chosen(page, "Failed", 1)


def test_link_to_the_list_keeps_its_filter(visitor: Visitor, system: RunningSystem) -> None:
    """Of a task that was opened, and of the navigation; an address without any shows all."""
    page = visitor.page
    _add_three_kinds(visitor, system)
    visitor.show("tasks")
    _chip(page, "Failed").click()
    _expect_chosen(page, "Failed", 1)
    address = page.url
    page.locator(".row-link").click()
    page.locator(".crumb a").click()
    _expect_chosen(page, "Failed", 1)
    assert page.url == address
    visitor.show("account")
    page.locator("nav a", has_text="Tasks").click()
    _expect_chosen(page, "Failed", 1)
    _chip(page, "All").click()
    _expect_chosen(page, "All", 6)
    assert page.url == f"{visitor.base_url}/#/tasks"


def test_address_of_no_filter_shows_all(visitor: Visitor, system: RunningSystem) -> None:
    _add_three_kinds(visitor, system)
    visitor.open(f"tasks?filter=lost&q={'%20' * 10}")
    _expect_chosen(visitor.page, "All", 6)
    visitor.open(f"tasks?q={'a' * 300}")
    expect(visitor.page.locator(".empty")).to_be_visible()


def test_search_is_not_in_the_address_of_the_next_account(
    visitor: Visitor, system: RunningSystem
) -> None:
    page = visitor.page
    _add_three_kinds(visitor, system)
    visitor.open("tasks?filter=failed&q=secret")
    expect(page.locator("#search")).to_have_value("secret")
    page.get_by_role("button", name="Log out", exact=True).click()
    page.wait_for_selector("#email")
    assert page.url == f"{visitor.base_url}/#/tasks"
    visitor.sign_up()
    visitor.show("tasks")
    expect(page.locator("#search")).to_have_value("")
    expect(page.locator(".chip[aria-pressed=true]")).to_have_text("All")
