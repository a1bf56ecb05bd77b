"""Clocks of the browser that are wrong, and ones that are put right while the page is open."""

import time

from conftest import NewVisitor, Visitor
from playwright.sync_api import expect
from running_system import RunningSystem

HOURS_S = 3 * 3600


def test_list_continues_after_the_clock_was_set_back(
    new_visitor: NewVisitor, system: RunningSystem
) -> None:
    visitor = new_visitor()
    visitor.page.clock.install(time=time.time() + HOURS_S)
    visitor.sign_up()
    system.add_tasks(visitor.email, 1)
    visitor.open("tasks")
    visitor.show_rows(1)
    visitor.page.clock.set_system_time(time.time())
    system.add_tasks(visitor.email, 1)
    visitor.page.clock.run_for(20_000)
    expect(visitor.page.locator(".row")).to_have_count(2)


def test_announcements_are_made_after_the_clock_was_set_back(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.page
    page.clock.install(time=time.time() + HOURS_S)
    visitor.sign_up()
    visitor.open("account")
    for name in ("one", "two"):
        page.fill("#key-name", name)
        page.get_by_role("button", name="Make a key").click()
        page.wait_for_selector("dialog .code")
        page.keyboard.press("Escape")
    _revoke(visitor, "one")
    expect(page.locator("[role=status]")).to_have_text("Revoked.")
    page.evaluate("document.querySelector('[role=status] span').textContent = ''")
    page.clock.set_system_time(time.time())
    _revoke(visitor, "two")
    page.clock.run_for(10_000)
    expect(page.locator("[role=status]")).to_have_text("Revoked.")


def _revoke(visitor: Visitor, name: str) -> None:
    visitor.page.get_by_role("button", name=f"Revoke {name}").click()
    visitor.page.locator("dialog .primary").click()
    visitor.page.get_by_role("button", name=f"Revoke {name}").wait_for(state="detached")


def test_ages_are_right_where_the_clock_is_wrong(
    new_visitor: NewVisitor, system: RunningSystem
) -> None:
    for error_s in (-HOURS_S, HOURS_S):
        visitor = new_visitor()
        visitor.page.clock.install(time=time.time() + error_s)
        visitor.sign_up()
        system.add_tasks(visitor.email, 1)
        visitor.open("tasks")
        expect(visitor.page.locator(".row .facts")).to_contain_text("just now")


def test_session_is_renewed_after_the_clock_was_set_back(new_visitor: NewVisitor) -> None:
    """When it was renewed last is in the future then, and its hour goes on all the same."""
    visitor = new_visitor()
    visitor.page.clock.install(time=time.time() + HOURS_S)
    visitor.sign_up()
    visitor.page.clock.set_system_time(time.time())
    with visitor.page.expect_response("**/auth/refresh"):
        visitor.page.clock.run_for(60_000)
