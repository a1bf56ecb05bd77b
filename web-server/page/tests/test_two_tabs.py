"""Two tabs of one browser, which have one cookie: a log-in in one is one in the other."""

import re

from conftest import PASSWORD, NewVisitor, Visitor
from playwright.sync_api import Page, Route, expect


def _log_in(page: Page, email: str, place: str = "") -> None:
    page.fill(f"{place} #email", email)
    page.fill(f"{place} #password", PASSWORD)
    page.locator(f"{place} form button.primary").click()


def _other_tab(visitor: Visitor, place: str = "") -> Page:
    page = visitor.context.new_page()
    page.goto(f"{visitor.base_url}/#/{place}")
    return page


def test_tab_follows_a_log_in_as_another_account(visitor: Visitor, new_visitor: NewVisitor) -> None:
    other = new_visitor()
    other.sign_up()
    first, second = visitor.page, _other_tab(visitor, "account")
    second.get_by_role("button", name="Log out", exact=True).click()
    second.wait_for_selector("#tab-true")
    _log_in(second, other.email)
    expect(second.locator("main .lead").first).to_contain_text(other.email)
    first.goto(f"{visitor.base_url}/#/account")
    expect(first.locator("main .lead").first).to_contain_text(other.email)


def test_log_in_of_one_tab_continues_in_the_other(visitor: Visitor) -> None:
    first, second = visitor.page, _other_tab(visitor)
    first.fill("#links", "https://example.com/half-typed")
    second.wait_for_selector("#links")
    visitor.context.clear_cookies()
    for page in (first, second):
        page.goto(f"{visitor.base_url}/#/tasks")
        page.get_by_role("dialog", name="Log in again").wait_for()
    _log_in(second, visitor.email, "dialog")
    second.locator(".empty").wait_for()
    first.locator(".empty").wait_for()
    expect(first.locator("dialog")).to_have_count(0)
    first.goto(f"{visitor.base_url}/#/new")
    expect(first.locator("#links")).to_have_value("https://example.com/half-typed")


def test_log_in_of_one_tab_is_one_of_the_other_too(visitor: Visitor) -> None:
    visitor.page.get_by_role("button", name="Log out").click()
    first, second = visitor.page, _other_tab(visitor, "account")
    second.wait_for_selector("#tab-true")
    _log_in(first, visitor.email)
    expect(second.locator("main .lead").first).to_contain_text(visitor.email)
    expect(second).to_have_url(re.compile("#/account$"))


def test_language_is_that_of_all_tabs(visitor: Visitor) -> None:
    first, second = visitor.page, _other_tab(visitor, "account")
    first.fill("#links", "https://example.com/half-typed")
    second.wait_for_selector("h1")
    second.select_option("#language", "es")
    expect(first.locator("h1")).to_have_text("Clips nuevos")
    expect(first.locator("html")).to_have_attribute("lang", "es")
    expect(first.locator("#language")).to_have_value("es")
    expect(first.locator("#links")).to_have_value("https://example.com/half-typed")
    first.select_option("#language", "en")
    expect(second.locator("h1")).to_have_text("Account")


def test_shortcuts_are_off_in_all_tabs(visitor: Visitor) -> None:
    first, second = visitor.page, _other_tab(visitor, "account")
    second.get_by_label("Keyboard shortcuts").uncheck()
    visitor.show("account")
    expect(first.get_by_label("Keyboard shortcuts")).not_to_be_checked()
    first.locator("h1").click()
    first.keyboard.press("t")
    second.bring_to_front()
    second.get_by_label("Keyboard shortcuts").check()
    expect(first.get_by_label("Keyboard shortcuts")).to_be_checked()
    assert first.url.endswith("#/account")


def _hold_first(page: Page, address: str) -> list[Route]:
    """Hold the first call of an address; let all others pass."""
    waiting: list[Route] = []
    page.route(address, lambda route: route.continue_() if waiting else waiting.append(route))
    return waiting


def test_tab_that_is_being_loaded_follows_a_log_out(visitor: Visitor) -> None:
    """The answer that comes afterwards is about a session that has ended."""
    second = visitor.context.new_page()
    waiting = _hold_first(second, "**/me")
    second.goto(f"{visitor.base_url}/#/account")
    visitor.wait_until(lambda: waiting, "the call")
    account = visitor.context.request.get(f"{visitor.base_url}/me").json()
    visitor.page.get_by_role("button", name="Log out").click()
    second.wait_for_selector("#tab-true")
    with second.expect_response("**/me"):
        waiting[0].fulfill(json=account)
    second.wait_for_timeout(300)
    expect(second.locator("#tab-true")).to_have_count(1)


def test_tab_that_is_being_loaded_follows_a_log_in(visitor: Visitor) -> None:
    """Its own call was refused: it had been sent before."""
    first, second = visitor.page, visitor.context.new_page()
    visitor.context.clear_cookies()
    first.goto(f"{visitor.base_url}/#/tasks")
    dialog = first.get_by_role("dialog", name="Log in again")
    dialog.wait_for()
    waiting = _hold_first(second, "**/me")
    second.goto(f"{visitor.base_url}/#/account")
    visitor.wait_until(lambda: waiting, "the call")
    _log_in(first, visitor.email, "dialog")
    expect(dialog).to_have_count(0)
    waiting[0].fulfill(status=401, json={"status": 401, "code": "token_missing"})
    expect(second.locator("main .lead").first).to_contain_text(visitor.email)
    first.reload()
    first.locator(".empty").wait_for()
