"""What a screen reader says by itself: announcements and errors, once each and where they are."""

import itertools
import json
import re
from typing import Any

from conftest import PASSWORD, Visitor
from playwright.sync_api import FilePayload, Page, Route, expect
from running_system import RunningSystem

ALERTS = """() => {
  window.alerts = [];
  const note = () => document.querySelectorAll('[role=alert]').forEach((each) => {
    if (each.noted !== each.innerText) window.alerts.push(each.noted = each.innerText);
  });
  note();
  new MutationObserver(note)
    .observe(document.body, {childList: true, subtree: true, characterData: true});
}"""


def _announced(page: Page) -> list[str]:
    """Return the texts of the live regions that Chromium exposes to screen readers."""
    session = page.context.new_cdp_session(page)
    nodes = {node["nodeId"]: node for node in session.send("Accessibility.getFullAXTree")["nodes"]}

    def text_of(node: dict[str, Any]) -> str:
        if node["role"]["value"] == "StaticText":
            return str(node["name"]["value"])
        children = [nodes[key] for key in node.get("childIds", [])]
        return "".join(map(text_of, children))

    regions = [node for node in nodes.values() if node["role"].get("value") == "status"]
    return [text_of(node) for node in regions if not node["ignored"]]


def test_announcement_is_made_while_a_dialog_is_open(visitor: Visitor) -> None:
    """Browsers hide the rest of the page from screen readers then, live regions included."""
    page = visitor.page
    visitor.show("account")
    page.fill("#key-name", "laptop")
    page.get_by_role("button", name="Make a key").click()
    page.locator("dialog .code").wait_for()
    assert _announced(page) == [""]  # of what came before, nothing is read again
    page.get_by_role("button", name="Copy").click()
    visitor.wait_until(lambda: _announced(page) == ["Copied"], "the announcement")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Revoke laptop").click()
    page.locator("dialog .primary").click()
    visitor.wait_until(lambda: _announced(page) == ["Revoked."], "the announcement")


def test_lost_connection_is_announced_once(timed_visitor: Visitor) -> None:
    page = timed_visitor.page
    timed_visitor.show("tasks")
    page.evaluate(ALERTS)
    timed_visitor.pause_clock()  # 10 s ahead: what is said below is true for 30 s more or less
    timed_visitor.context.set_offline(True)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.locator(".banner").wait_for()
    page.clock.run_for(170_000)
    page.clock.resume()  # the text changes with the next failed call, within 30 s
    expect(page.locator(".banner")).to_contain_text("3 minutes ago")
    assert page.evaluate("window.alerts") == ["No connection."]


def test_lost_connection_is_announced_in_an_open_dialog(
    visitor: Visitor, system: RunningSystem
) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 1)
    visitor.show("tasks")
    page.locator(".row input").check()
    page.locator(".bulk .danger").click()
    visitor.context.set_offline(True)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    # Browsers hide the rest of the page from screen readers meanwhile.
    alert = page.get_by_role("dialog").get_by_role("alert")
    expect(alert).to_have_text("No connection.")
    visitor.context.set_offline(False)
    expect(alert).to_have_count(0)
    expect(page.get_by_role("dialog")).to_have_count(1)


def test_error_is_announced_once_while_it_lasts(timed_visitor: Visitor) -> None:
    """Each response has another request id."""
    page = timed_visitor.page
    numbers = itertools.count(1)

    def fail(route: Route) -> None:
        problem = {"status": 503, "code": "database_unavailable", "request_id": str(next(numbers))}
        route.fulfill(status=503, content_type="application/problem+json", body=json.dumps(problem))

    page.route("**/tasks?*", fail)
    timed_visitor.open("tasks")
    page.locator("main .failure").wait_for()
    page.evaluate(ALERTS)
    for _ in range(3):
        with page.expect_response("**/tasks?*"):  # one without an answer for 60 s is given up
            page.clock.run_for(30_000)
    expect(page.locator("main .failure code")).not_to_have_text("1")
    assert sorted(page.evaluate("window.alerts")) == [
        "The database does not answer; this passes. Try again in a moment.",
        "The system does not answer.",
    ]


def test_failed_upload_is_announced(visitor: Visitor) -> None:
    page = visitor.page
    empty = FilePayload(name="empty.mp4", mimeType="video/mp4", buffer=b"")
    page.set_input_files("input[type=file]", empty)
    expect(page.get_by_role("alert")).to_contain_text("empty")


def test_refused_password_is_marked_at_its_field(visitor: Visitor) -> None:
    page = visitor.page
    visitor.show("account")
    old, new = page.get_by_label("Current password"), page.get_by_label("New password")
    old.fill(PASSWORD)
    new.fill("short")
    change = page.get_by_role("button", name="Change the password")
    change.click()
    expect(new).to_have_attribute("aria-invalid", "true")
    expect(new).to_have_accessible_description(re.compile("Too short."))
    expect(new).to_be_focused()
    old.fill("wrong")
    new.fill(f"{PASSWORD}-2")
    change.click()
    expect(old).to_have_attribute("aria-invalid", "true")
    expect(new).not_to_have_attribute("aria-invalid", "true")
    expect(old).to_be_focused()


def test_webhook_without_events_is_refused_at_the_events(visitor: Visitor) -> None:
    page = visitor.page
    visitor.show("account")
    page.fill("#hook-url", f"{visitor.base_url}/hook")
    for name in ("task.done", "task.failed", "task.canceled"):
        page.get_by_label(name).uncheck()
    page.locator("form:has(#hook-url) button").click()
    page.locator("form:has(#hook-url) .failure").wait_for()
    expect(page.locator("#hook-url")).not_to_have_attribute("aria-invalid", "true")


def test_confirmation_is_described(visitor: Visitor, system: RunningSystem) -> None:
    page = visitor.page
    system.add_tasks(visitor.email, 1)
    visitor.show(f"task/{system.task_id(visitor.email, 'Race 0')}")
    page.locator(".actions .danger").click()
    expect(page.get_by_role("dialog")).to_have_accessible_description("Its clips are removed.")


def test_rules_of_a_new_password_are_read_with_its_field(visitor: Visitor) -> None:
    page = visitor.page
    visitor.show("account")
    new = page.get_by_label("New password")
    rules = "8 characters {}An upper-case letter {}A lower-case letter {}A digit"
    expect(new).to_have_accessible_description(rules.format("", "", ""))
    new.fill("A1a\U0001f600\U0001f600\U0001f600")  # six characters, nine in UTF-16
    met = rules.format("", "(met) ", "(met) ") + " (met)"
    expect(new).to_have_accessible_description(met)
    new.fill(f"{PASSWORD}-2")
    page.get_by_label("Current password").fill(PASSWORD)
    page.get_by_role("button", name="Change the password").click()
    changed = "The password is changed; other sessions have ended."
    page.locator("form .good", has_text=changed).wait_for()
    # By the page's region: screen readers pass over one that appears with its text.
    visitor.wait_until(lambda: _announced(page) == [changed], "the announcement")
    expect(new).to_have_accessible_description(rules.format("", "", ""))
    page.get_by_role("button", name="Log out", exact=True).click()
    page.locator("#tab-true").click()
    expect(page.locator("#password")).to_have_accessible_description(rules.format("", "", ""))
