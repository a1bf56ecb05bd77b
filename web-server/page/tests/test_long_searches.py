"""Searches of accounts with more tasks than the system examines for one page, 5000."""

from conftest import Visitor
from playwright.sync_api import Page, expect
from running_system import RunningSystem

CURSOR = "**/tasks?*cursor*"
POLL_NOW = "document.dispatchEvent(new Event('visibilitychange'))"


def _search(page: Page, text: str) -> None:
    page.fill("#search", text)
    page.locator("#search").press("Enter")


def test_task_with_many_newer_ones_is_found(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 5_010)
    visitor.open("tasks")
    page.route(CURSOR, lambda route: route.fulfill(status=503))
    _search(page, "Race 5009")
    page.locator(".failure").wait_for()
    expect(page.locator(".empty")).to_have_count(0)
    page.unroute(CURSOR)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".row strong")).to_have_text(["Race 5009"])
    _search(page, "Race 5008")  # without an error, it goes on by itself
    expect(page.locator(".row strong")).to_have_text(["Race 5008"])
    _search(page, "none of them")
    page.locator(".empty").wait_for()


def test_rows_of_a_search_stay_with_those_of_later_pages(
    visitor: Visitor, system: RunningSystem
) -> None:
    """Of the second page, which is empty, nothing is seen."""
    page = visitor.page
    system.add_tasks(visitor.email, 10_010)
    visitor.open("tasks")
    _search(page, "Race 100")
    first = [100, *range(1000, 1010)]
    names = page.locator(".row strong")
    expect(names).to_have_text([f"Race {n}" for n in first])
    page.get_by_role("button", name="Show more").click()
    both = [f"Race {n}" for n in [*first, *range(10_000, 10_010)]]
    expect(names).to_have_text(both)
    expect(page.get_by_role("button", name="Show more")).to_have_count(0)
    with page.expect_response(CURSOR), page.expect_response(lambda answer: "q=" in answer.url):
        page.evaluate(POLL_NOW)
    page.wait_for_timeout(300)
    expect(names).to_have_text(both)
