"""What was typed for a new task stays when the page is loaded again."""

from conftest import PASSWORD, NewVisitor, Visitor, lose_answer
from playwright.sync_api import Page, expect


def test_links_and_options_are_there_after_a_reload(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    page.fill("#links", f"{video_url}?a\n{video_url}?b")
    page.locator("summary").click()
    page.fill("#part_seconds", "2")
    page.get_by_label("9:16").check(force=True)
    page.reload()
    expect(page.locator("#links")).to_have_value(f"{video_url}?a\n{video_url}?b")
    expect(page.locator("#part_seconds")).to_have_value("2")
    expect(page.locator("#part_seconds")).to_be_visible()
    expect(page.get_by_label("9:16")).to_be_checked()
    page.get_by_role("button", name="Make clips of 2 videos").click()
    page.wait_for_url("**/#/batch/*")
    tasks = visitor.context.request.get(f"{visitor.base_url}/tasks").json()
    assert len(tasks) == 2
    for listed in tasks:
        task = visitor.context.request.get(f"{visitor.base_url}{listed['link']}").json()
        assert (task["edit"]["aspect"], task["edit"]["part_seconds"]) == ("9:16", 2)
    visitor.open("new")
    page.reload()
    expect(page.locator("#links")).to_have_value("")  # it was sent


def test_lost_answer_makes_no_second_task_after_a_reload(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    page.route("**/tasks", lose_answer, times=1)
    page.fill("#links", video_url)
    page.locator("form button.primary").click()
    page.locator("form > .failure").wait_for()
    page.reload()
    page.locator("form button.primary:enabled").click()
    page.wait_for_url("**/#/task/*")
    assert len(visitor.context.request.get(f"{visitor.base_url}/tasks").json()) == 1


def test_next_user_of_the_browser_sees_no_typed_text(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    page.fill("#links", f"{video_url}?secret")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_selector("#email")
    assert "secret" not in page.evaluate("JSON.stringify({...sessionStorage, ...localStorage})")
    visitor.sign_up()
    expect(page.locator("#links")).to_have_value("")


def _log_in(page: Page, email: str) -> None:
    page.fill("#email", email)
    page.fill("#password", PASSWORD)
    page.locator("form button.primary").click()


def test_typed_text_is_there_after_a_reload_without_a_session(visitor: Visitor) -> None:
    """Browsers load a tab again that they had unloaded to save memory, hours later."""
    page = visitor.page
    page.fill("#links", "https://example.com/half-typed")
    visitor.context.clear_cookies()
    page.reload()
    _log_in(page, visitor.email)
    expect(page.locator("#links")).to_have_value("https://example.com/half-typed")


def test_typed_text_is_not_shown_to_another_account(
    visitor: Visitor, new_visitor: NewVisitor
) -> None:
    other = new_visitor()
    other.enter()
    page = visitor.page
    page.fill("#links", "https://example.com/secret")
    page.goto("about:blank")  # here this tab does not learn that another account logs in
    tab = visitor.context.new_page()
    tab.goto(visitor.base_url)
    tab.get_by_role("button", name="Log out", exact=True).click()
    _log_in(tab, other.email)
    tab.wait_for_selector("#links")
    visitor.open("new")
    expect(page.locator("#links")).to_have_value("")
