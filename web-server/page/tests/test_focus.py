"""The keyboard's place: where the focus is after a control is used, removed or disabled."""

import json

import pytest
from conftest import PASSWORD, ROWS_A_PAGE, Visitor
from playwright.sync_api import Route, expect
from running_system import RunningSystem

FOCUSED = "document.activeElement.outerHTML.slice(0, 200)"


def _expect_not_lost(visitor: Visitor) -> None:
    """Also not after the browser has had a moment: it moves the focus before the next picture."""
    visitor.page.wait_for_timeout(300)
    tag = visitor.page.evaluate("document.activeElement.localName")
    assert tag not in ("body", "main"), visitor.page.evaluate(FOCUSED)


def test_log_in_dialog_stays_after_escape_twice(visitor: Visitor) -> None:
    """Browsers let a page prevent only the first Escape; calls would wait for a log-in for ever."""
    page = visitor.page
    visitor.context.clear_cookies()
    visitor.open("tasks")
    login = page.get_by_role("dialog", name="Log in again")
    login.locator("#password").click()
    for _ in range(3):
        page.keyboard.press("Escape")
    page.wait_for_timeout(300)
    login.locator("#password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.locator(".empty").wait_for()


def test_j_passes_clips_that_are_not_made(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    task_id = system.add_long_task(visitor.email, 8)
    system.execute(
        f"UPDATE parts SET status = 'done' WHERE task_id = '{task_id}' AND number IN (5, 7)"
    )
    visitor.show(f"task/{task_id}")
    focused = []
    for _ in range(6):
        page.keyboard.press("j")
        focused.append(page.evaluate("document.activeElement.ariaLabel"))
    assert focused == [f"Play Clip {number}" for number in (1, 2, 3, 4, 6, 8)]
    page.locator(".card a").nth(1).focus()
    page.keyboard.press("j")  # from within a card to the next one
    expect(page.get_by_role("button", name="Play Clip 3")).to_be_focused()


def test_j_works_on_the_checkbox_of_a_row(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 2)
    visitor.show("tasks")
    page.locator(".row input").first.focus()
    page.keyboard.press("j")
    expect(page.locator(".row-link").nth(1)).to_be_focused()


def test_player_is_used_by_keys(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    task_id = system.add_long_task(visitor.email, 8)  # half of it done
    page.route("**/parts/*", lambda _: None)
    visitor.show(f"task/{task_id}")
    page.get_by_role("button", name="Play Clip 2").press("Enter")
    title = page.locator("dialog h2")
    expect(title).to_contain_text("Clip 2")
    expect(page.locator("video")).to_be_focused()  # Space plays; it does not close the dialog
    for number in (3, 4):
        page.keyboard.press("Shift+ArrowRight")
        expect(title).to_contain_text(f"Clip {number}")
    page.get_by_role("button", name="Previous").press("Enter")
    expect(title).to_contain_text("Clip 3")
    following = page.get_by_role("button", name="Next")
    following.press("Enter")
    expect(title).to_contain_text("Clip 4")
    expect(following).to_be_focused()  # though there is no clip after it
    expect(following).to_be_disabled()
    page.keyboard.press("Shift+ArrowLeft")
    expect(title).to_contain_text("Clip 3")


def test_focus_is_at_the_next_row_after_one_is_deleted(
    visitor: Visitor, system: RunningSystem
) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 3)
    visitor.show("tasks")
    page.locator(".row input").first.press("Space")
    page.locator(".bulk .danger").press("Enter")
    page.locator("dialog .primary").press("Enter")
    expect(page.locator(".row")).to_have_count(2)
    expect(page.locator(".bulk")).to_have_count(0)
    _expect_not_lost(visitor)


@pytest.mark.parametrize("name", ["Clear the selection", "Select all 3 shown"])
def test_focus_stays_near_a_choice_that_goes_away(
    visitor: Visitor, system: RunningSystem, name: str
) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 3)
    visitor.show("tasks")
    page.locator(".row input").first.press("Space")
    page.get_by_role("button", name=name).press("Enter")
    expect(page.get_by_role("button", name=name)).to_have_count(0)
    _expect_not_lost(visitor)


def test_focus_stays_near_the_last_rows(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, ROWS_A_PAGE + 2)
    visitor.show("tasks")
    more = page.get_by_role("button", name="Show more")
    more.press("Enter")
    expect(more).to_have_count(0)
    _expect_not_lost(visitor)


def test_focus_stays_near_the_sample(visitor: Visitor) -> None:
    visitor.page.get_by_role("button", name="Try it with a sample video").press("Enter")
    expect(visitor.page.locator("#links")).not_to_have_value("")
    _expect_not_lost(visitor)


def test_focus_returns_to_a_button_that_sends(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    refusal = json.dumps({"status": 403, "code": "quota_bytes"})
    waiting: list[Route] = []
    page.route("**/tasks", lambda route: waiting.append(route))
    page.fill("#links", video_url)
    send = page.locator("form button.primary")
    send.press("Enter")
    visitor.wait_until(lambda: waiting, "the call")
    # The browser takes the focus from what is disabled.
    visitor.wait_true("document.activeElement === document.body")
    waiting[0].fulfill(status=403, content_type="application/problem+json", body=refusal)
    page.locator("form > .failure").wait_for()
    expect(send).to_be_focused()


def test_focus_is_at_the_screen_after_log_in_and_log_out(visitor: Visitor) -> None:
    page = visitor.page
    page.get_by_role("button", name="Log out", exact=True).press("Enter")
    page.wait_for_selector("#email")
    expect(page.locator("#main")).to_be_focused()
    page.fill("#email", visitor.email)
    page.fill("#password", PASSWORD)
    page.locator("form button.primary").press("Enter")
    page.wait_for_selector("#links")
    expect(page.locator("#main")).to_be_focused()


def test_focus_does_not_return_to_a_place_the_user_left(
    visitor: Visitor, system: RunningSystem
) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 2)
    visitor.show("tasks")
    page.locator(".row-link").first.focus()
    page.mouse.click(5, 700)  # beside everything
    page.evaluate("document.activeElement.blur()")
    task_id = system.task_id(visitor.email, "Race 0")
    system.execute(f"DELETE FROM tasks WHERE id = '{task_id}'")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(".row")).to_have_count(1)
    assert page.evaluate("document.activeElement.localName") == "body"


def test_focus_of_a_question_is_on_what_deletes_nothing(
    visitor: Visitor, system: RunningSystem
) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 1)
    visitor.show("tasks")
    page.locator(".row input").press("Space")
    page.locator(".bulk .danger").press("Enter")
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator(".bulk .danger")).to_be_focused()
    expect(page.locator(".row")).to_have_count(1)
    visitor.show("account")
    page.get_by_role("button", name="Delete the account").press("Enter")
    expect(page.get_by_role("dialog").get_by_label("Password")).to_be_focused()
