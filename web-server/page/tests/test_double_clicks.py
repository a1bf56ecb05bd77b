"""The second click of a double click does nothing to what has come under the pointer meanwhile."""

import re

from conftest import NewVisitor, Visitor
from playwright.sync_api import Locator, Page, expect
from running_system import RunningSystem


def test_answer_to_a_question_opens_no_row(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 12)
    visitor.open("tasks")
    page.locator(".row input").first.check()
    page.locator(".bulk .danger").click()
    page.locator("dialog .primary").dblclick()
    expect(page.locator(".row")).to_have_count(11)
    expect(page).to_have_url(re.compile("#/tasks$"))


def test_question_is_not_answered_by_the_click_that_opens_it(
    new_visitor: NewVisitor, system: RunningSystem
) -> None:
    """On phones the question covers the button."""
    visitor = new_visitor(viewport={"width": 360, "height": 800})
    visitor.enter()
    page = visitor.page
    system.add_tasks(visitor.email, 1, "queued")
    task_id = system.task_id(visitor.email, "Race 0")
    system.execute(f"UPDATE tasks SET name = repeat('A lap ', 30) WHERE id = '{task_id}'")
    visitor.show(f"task/{task_id}")
    abort, sure = page.locator("article > .actions .danger"), page.locator("dialog .primary")
    abort.click()
    distance = _middle(sure) - _middle(abort)
    page.keyboard.press("Escape")
    # Dialogs are in the middle of the screen.
    page.set_viewport_size({"width": 360, "height": int(800 - 2 * distance)})
    abort.dblclick()
    expect(page.get_by_role("dialog", name="Abort this task?")).to_be_visible()
    page.wait_for_timeout(300)
    expect(sure).to_have_count(1)
    sure.click()
    expect(page.locator(".title-row .status")).to_have_class("status canceled")


def _click_again(page: Page, count: int = 2) -> None:
    """Click where the pointer is, as the second of a double click or a later one."""
    page.mouse.down(click_count=count)
    page.mouse.up(click_count=count)


def _middle(element: Locator) -> float:
    box = element.bounding_box()
    assert box
    return box["y"] + box["height"] / 2


def test_pause_is_not_undone_by_its_second_click(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.execute(f"UPDATE users SET role = 'operator' WHERE email = '{visitor.email}'")
    visitor.log_in()  # tokens say whose they are: one of an operator is needed
    visitor.open("system")
    tile = page.locator(".tile", has_text="Downloads")
    try:
        tile.get_by_role("button", name="Pause").click()
        tile.get_by_role("button", name="Resume").wait_for()
        _click_again(page)
        page.wait_for_timeout(300)
        expect(tile.get_by_role("button", name="Resume")).to_be_focused()
        assert system.execute("SELECT kind FROM queue_pauses") == [("fetch",)]
    finally:
        system.execute("DELETE FROM queue_pauses")


def test_same_control_is_clicked_as_often_as_it_is(visitor: Visitor) -> None:
    page = visitor.page
    visitor.show("account")
    show = page.locator(".with-button button").first
    show.hover()
    for count, state in ((1, "true"), (2, "false"), (3, "true")):
        _click_again(page, count)
        expect(show).to_have_attribute("aria-pressed", state)
    page.get_by_text("Keyboard shortcuts").dblclick()
    expect(page.get_by_label("Keyboard shortcuts")).to_be_checked()


def test_second_click_counts_where_the_control_was_disabled_at_the_first(visitor: Visitor) -> None:
    """Browsers report none of the first one."""
    page = visitor.page
    page.locator("h1").click()
    page.fill("#links", "http://127.0.0.1:9/lap.mp4")
    page.locator("form button.primary").hover()
    _click_again(page)
    page.wait_for_url("**/#/task/*")
