"""Colours of the system's own, readers of the screen, and names from right to left."""

import pytest
from conftest import PASSWORD, NewVisitor, Visitor
from playwright.sync_api import Locator, ViewportSize, expect
from running_system import RunningSystem

WATCH_WORDS = """() => {
  window.heard = [];
  const region = document.querySelector('[role=status]');
  new MutationObserver(() => window.heard.push(region.innerText))
    .observe(region, {childList: true, subtree: true, characterData: true});
}"""

LEFT_OF = """(indices) => indices.map((index) => {
  const range = document.createRange();
  const text = document.querySelector('h1').firstChild;
  range.setStart(text, index);
  range.setEnd(text, index + 1);
  return range.getBoundingClientRect().left;
})"""


def _wait_for_repaint(visitor: Visitor, element: Locator, before: bytes) -> None:
    visitor.wait_until(lambda: element.screenshot() != before, "another look")


def test_choices_are_seen_in_the_colours_of_the_system(
    new_visitor: NewVisitor, video_url: str
) -> None:
    visitor = new_visitor(forced_colors="active")
    visitor.sign_up()
    page = visitor.page
    page.locator("summary").click()
    option = page.locator(".options label", has_text="9:16")
    before = option.screenshot()
    option.locator("input").check(force=True)
    page.locator("h1").click()
    _wait_for_repaint(visitor, option, before)
    visitor.submit(video_url)
    visitor.open("tasks")
    chip = page.get_by_role("button", name="Failed")
    chip.wait_for()
    before = chip.screenshot()
    chip.click()
    page.mouse.move(0, 0)
    page.locator("main").focus()
    _wait_for_repaint(visitor, chip, before)


def test_progress_is_seen_in_the_colours_of_the_system(new_visitor: NewVisitor) -> None:
    visitor = new_visitor(forced_colors="active", reduced_motion="reduce")
    visitor.sign_up()
    page = visitor.page
    page.evaluate(
        "document.querySelector('main').append(Object.assign(document.createElement('progress'),"
        " {max: 100, value: 1, id: 'bar'}))"
    )
    bar = page.locator("#bar")
    before = bar.screenshot()
    page.evaluate("document.getElementById('bar').value = 90")
    _wait_for_repaint(visitor, bar, before)


def test_announcements_in_quick_succession_are_delayed(new_visitor: NewVisitor) -> None:
    visitor = new_visitor()
    page = visitor.page
    page.clock.install()
    visitor.sign_up()
    visitor.open("account")
    for name in ("one", "two"):
        page.fill("#key-name", name)
        page.get_by_role("button", name="Make a key").click()
        page.wait_for_selector("dialog .code")
        page.keyboard.press("Escape")
        expect(page.locator("dialog")).to_have_count(0)  # which has a region of its own
    page.evaluate(WATCH_WORDS)
    for name in ("one", "two"):
        page.get_by_role("button", name=f"Revoke {name}").click()
        page.locator("dialog .primary").click()
        page.get_by_role("button", name=f"Revoke {name}").wait_for(state="detached")
    page.clock.run_for(5000)
    visitor.wait_true("window.heard.length === 2")
    assert page.evaluate("window.heard") == ["Revoked.", "Revoked."]


def test_end_of_a_task_is_announced(visitor: Visitor, system: RunningSystem) -> None:
    system.add_tasks(visitor.email, 1, "queued")
    visitor.show(f"task/{system.task_id(visitor.email, 'Race 0')}")
    visitor.page.evaluate(WATCH_WORDS)
    for status in ("downloading", "processing", "done"):
        system.set_status(visitor.email, "Race 0", status)
        visitor.page.locator(f".title-row .status.{status}").wait_for()
    visitor.wait_true("window.heard.includes('Race 0: Done')")
    assert len(visitor.page.evaluate("window.heard")) <= 4


def test_each_dialog_has_its_own_name(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    visitor.submit(video_url)
    visitor.wait_done()
    page.get_by_role("button", name="Share").click()
    page.get_by_role("dialog", name="Share").wait_for()
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    visitor.context.clear_cookies()
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.get_by_role("dialog", name="Log in again").wait_for()
    page.get_by_role("dialog", name="Log in again").locator("#password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("dialog", name="Log in again").wait_for(state="detached")
    expect(page.get_by_role("dialog", name="Share")).to_have_count(1)


def test_clip_plays_after_the_session_has_ended(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    visitor.submit(video_url)
    visitor.wait_done()
    visitor.context.clear_cookies()
    page.locator(".card .picture").first.click()
    login = page.get_by_role("dialog", name="Log in again")
    login.locator("#password").fill(PASSWORD)
    page.keyboard.press("Enter")
    login.wait_for(state="detached")
    visitor.wait_true("document.querySelector('video')?.currentTime > 0")


def test_player_shows_why_a_clip_does_not_play(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    visitor.submit(video_url)
    visitor.wait_done()
    page.route("**/parts/0", lambda route: route.fulfill(status=206, content_type="video/mp4"))
    page.locator(".card .picture").first.click()
    page.get_by_text("This browser cannot play the clip.").wait_for()


def test_right_to_left_name_is_displayed_right_to_left(visitor: Visitor, video_url: str) -> None:
    """Its last sign is to the left. That of a name in Latin letters is to the right."""
    page = visitor.page
    for name, is_to_the_left in (("שלום!", True), ("Lap!", False)):
        visitor.submit(video_url, name=name)
        page.get_by_role("heading", name=name).wait_for()
        first, last = page.evaluate(LEFT_OF, [0, name.index("!")])
        assert (last < first) == is_to_the_left


def test_long_names_are_shown_whole(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    name = "National indoor championship, second day, camera from the north stand, lap " * 2 + "12"
    system.add_tasks(visitor.email, 1)
    task_id = system.task_id(visitor.email, "Race 0")
    system.execute(f"UPDATE tasks SET name = '{name}' WHERE id = '{task_id}'")
    is_whole = (
        "each => each.scrollWidth <= each.clientWidth && each.scrollHeight <= each.clientHeight"
    )
    visitor.show("tasks")
    page.locator(".row").wait_for()
    assert page.locator(".row strong").evaluate(is_whole)
    visitor.show(f"task/{task_id}")
    expect(page.locator("h1")).to_have_text(name)
    assert page.locator("h1").evaluate(is_whole)


def test_status_of_a_row_is_below_its_text(new_visitor: NewVisitor, system: RunningSystem) -> None:
    """In a window of 1280 pixels at 200 %: above it, it left half of the row empty."""
    visitor = new_visitor(viewport=ViewportSize(width=640, height=400))
    visitor.enter()
    system.add_tasks(visitor.email, 1)
    visitor.show("tasks")
    text, status, row = (
        visitor.page.locator(each).evaluate("each => each.getBoundingClientRect().toJSON()")
        for each in (".row-text", ".row-link .status", ".row-link")
    )
    assert status["x"] == pytest.approx(text["x"], abs=1)
    assert text["width"] > row["width"] - 100
