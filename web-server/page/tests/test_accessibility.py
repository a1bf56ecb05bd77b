"""axe (WCAG 2.2 AA) and 400 % zoom on each screen, in both languages and both schemes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PASSWORD, PICTURES, WORK_LIMIT_MS, NewVisitor, Visitor
from playwright.sync_api import FilePayload, ViewportSize
from running_system import RunningSystem

AXE = Path(".cache/page/node_modules/axe-core/axe.min.js").read_text()
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
RUN = (
    f"axe.run({{runOnly: {TAGS}}}).then(r => r.violations.map(v => v.id + ': ' + v.nodes[0].html))"
)


# 1280 pixels at 400 %: WCAG 2.2, 1.4.10. What lies beyond the edge cannot be reached.
ZOOMED = ViewportSize(width=320, height=256)
BEYOND = """[
  ...(document.documentElement.scrollWidth > 320 ? ['scrolls sideways'] : []),
  ...[...document.querySelectorAll('a, button, input, select, textarea, h1, summary')]
    .filter(each => each.offsetParent && !each.closest('.hidden, .skip, .scroll'))
    .filter(each => each.getBoundingClientRect().right > 320.5
      || each.getBoundingClientRect().left < -0.5)
    .map(each => each.outerHTML.slice(0, 200)),
  ...[...document.querySelectorAll('.ellipsis')]
    .filter(each => each.scrollWidth > each.clientWidth + 1)
    .map(each => 'cut off: ' + each.innerText),
]"""
# Rows and cards out of sight are not painted, which a picture of the whole page would show.
PAINTED = ".card, .row { content-visibility: visible }"


class Checker:
    """Checks each screen by axe and in a zoomed viewport, and saves a screenshot."""

    def __init__(self, visitor: Visitor, suffix: str) -> None:
        self._visitor, self._page = visitor, visitor.page
        self._suffix = suffix
        PICTURES.mkdir(parents=True, exist_ok=True)

    def check(self, name: str) -> None:
        page = self._page
        page.wait_for_selector("h1, dialog")
        page.screenshot(path=PICTURES / f"{name}-{self._suffix}.png", full_page=True, style=PAINTED)
        if page.evaluate("typeof axe") == "undefined":
            page.evaluate(AXE)
        assert page.evaluate(RUN) == [], name
        if self._suffix.endswith("dark"):
            return  # colours change no places
        usual = page.viewport_size
        assert usual
        self._resize(ZOOMED)
        assert page.evaluate(BEYOND) == [], name
        if "PICTURES" in os.environ:  # someone is going to look at them
            zoomed = PICTURES / f"{name}-zoomed-{self._suffix}.png"
            page.screenshot(path=zoomed, full_page=True, style=PAINTED)
        self._resize(usual)

    def _resize(self, size: ViewportSize) -> None:
        self._page.set_viewport_size(size)
        self._visitor.wait_true(f"innerWidth === {size['width']}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en-US", "es-ES"])
def test_no_violation(
    new_visitor: NewVisitor, system: RunningSystem, video_url: str, locale: str, scheme: str
) -> None:
    # axe is put in from outside of the page, which allows no script but its own.
    # Without transitions, a colour is what it is going to be.
    visitor = new_visitor(
        locale=locale, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce"
    )
    check = Checker(visitor, f"{locale[:2]}-{scheme}").check
    _check_accounts(visitor, check)
    _check_tasks(visitor, video_url, check)
    _check_rest(visitor, system, check)


def _check_accounts(visitor: Visitor, check: Callable[[str], None]) -> None:
    page = visitor.page
    visitor.open()
    page.wait_for_selector("#email")
    check("sign-in")
    page.fill("#email", "nobody@example.com")
    page.fill("#password", PASSWORD)
    page.locator("form button.primary").click()
    page.wait_for_selector("form .failure")
    check("sign-in-error")
    page.locator("#tab-true").click()
    check("sign-up")
    page.fill("#username", "a")
    page.fill("#email", "a@example.com")
    page.fill("#password", "short")
    page.locator("form button.primary").click()
    page.wait_for_selector("form .failure")
    check("sign-up-error")
    visitor.sign_up()


def _check_tasks(visitor: Visitor, video_url: str, check: Callable[[str], None]) -> None:
    page = visitor.page
    check("new")
    page.locator("summary").click()
    page.fill("#links", "ftp://example.com/a.mp4\nhttp://10.0.0.1/b.mp4")
    page.locator("form button.primary").click()
    page.wait_for_selector("form > .failure")
    check("new-errors")
    visitor.open("tasks")
    page.wait_for_selector(".empty")
    check("tasks-empty")
    visitor.open("new")
    page.fill("#links", video_url)
    page.locator("summary").click()
    page.fill("#part_seconds", "2")
    page.locator("input[name=begin][value=manual]").check(force=True)
    page.locator("form button.primary").click()
    page.wait_for_selector(".title-row .status.planned", timeout=WORK_LIMIT_MS)
    page.locator(".options-box summary").click()
    check("planned")
    page.locator(".actions .primary").first.click()
    visitor.wait_done()
    check("task")
    page.locator(".actions .danger").click()
    page.wait_for_selector("dialog")
    check("delete")
    page.keyboard.press("Escape")
    page.locator(".picture").first.click()
    page.wait_for_selector("video")
    check("player")
    page.keyboard.press("Escape")
    page.locator(".actions button:not(.danger)").click()
    page.wait_for_selector("dialog .code")
    check("share")
    shared = page.locator("dialog .code").input_value()
    page.goto(shared)
    page.wait_for_selector(".card.done")
    check("shared")
    page.goto(f"{shared[:-4]}AAAA")
    page.wait_for_selector("main > .failure")
    check("shared-missing")
    visitor.submit(f"{visitor.base_url}/openapi.json")  # no video
    page.wait_for_selector(".status.failed", timeout=WORK_LIMIT_MS)
    check("task-failed")
    visitor.open("task/00000000-0000-4000-8000-000000000000")
    page.wait_for_selector("main > .failure")
    check("task-missing")
    visitor.open("new")
    page.fill("#links", f"{video_url}\n{video_url}?again")
    page.locator("form button.primary").click()
    page.wait_for_selector(".row")
    check("batch")
    visitor.open("tasks")
    page.wait_for_selector(".batches")
    page.wait_for_selector(".row")
    page.locator(".row input").first.check()
    check("tasks")
    visitor.context.set_offline(True)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_selector(".banner")
    check("tasks-offline")
    visitor.context.set_offline(False)


def _check_rest(visitor: Visitor, system: RunningSystem, check: Callable[[str], None]) -> None:
    page = visitor.page
    visitor.open("brand")
    logo = page.locator(".brand").screenshot()
    picture = FilePayload(name="logo.png", mimeType="image/png", buffer=logo)
    page.fill("#brand-name", "Ours")
    page.set_input_files("#brand-watermark", picture)
    page.locator("form button.primary").click()
    page.wait_for_selector(".good")
    check("brands")
    page.fill("#brand-name", "Broken")
    broken = FilePayload(name="a.png", mimeType="image/png", buffer=b"no picture")
    page.set_input_files("#brand-before", broken)
    page.locator("form button.primary").click()
    page.wait_for_selector("#brand-before-error")
    check("brand-error")
    visitor.open("account")
    page.wait_for_selector(".usage")
    page.fill("form.inline input", "laptop")
    page.locator("form.inline button").click()
    page.wait_for_selector("dialog")
    check("key")
    page.keyboard.press("Escape")
    page.fill("#hook-url", "http://127.0.0.1:9/a/hook/with/a/long/address/that/has/to/be/broken")
    page.locator("form:has(#hook-url) button").click()
    page.wait_for_selector("dialog")
    check("secret")
    page.keyboard.press("Escape")
    page.locator("li .actions button").first.click()
    page.locator(".plain .plain li").wait_for()
    page.fill("#old_password", "wrong")
    page.fill("#new_password", PASSWORD)
    page.locator("form:has(#new_password) button:not(.quiet)").click()
    page.wait_for_selector("form:has(#new_password) .failure")
    check("account")
    system.execute(f"UPDATE users SET role = 'operator' WHERE email = '{visitor.email}'")
    # Tokens say whose they are: one of an operator is needed.
    visitor.log_in()
    visitor.open("system")
    page.wait_for_selector(".tiles")
    check("system")
