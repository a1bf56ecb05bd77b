"""axe (WCAG 2.2 AA) on each screen, in both languages and both schemes; what is kept for eyes."""

from pathlib import Path

import pytest
from conftest import PICTURES, NewVisitor

AXE = Path(".cache/page/node_modules/axe-core/axe.min.js")
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
RUN = (
    f"axe.run({{runOnly: {TAGS}}}).then(r => r.violations.map(v => v.id + ': ' + v.nodes[0].html))"
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en-US", "es-ES"])
def test_no_violation(new_visitor: NewVisitor, video_url: str, locale: str, scheme: str) -> None:
    # axe is put in from outside of the page, which allows no script but its own.
    visitor = new_visitor(locale=locale, color_scheme=scheme, bypass_csp=True)
    page = visitor.page

    def check(name: str) -> None:
        page.wait_for_selector("h1")
        page.wait_for_timeout(300)  # transitions of colours
        PICTURES.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=PICTURES / f"{name}-{locale[:2]}-{scheme}.png", full_page=True)
        page.evaluate(AXE.read_text())
        assert page.evaluate(RUN) == [], name

    visitor.open()
    check("sign-in")
    page.locator("#tab-true").click()
    check("sign-up")
    visitor.sign_up()
    check("new")
    page.locator("summary").click()
    check("options")
    visitor.open("tasks")
    page.wait_for_selector(".empty")
    check("tasks-empty")
    visitor.submit(video_url, part_seconds="2")
    visitor.wait_done()
    check("task")
    page.locator(".picture").first.click()
    page.wait_for_selector("video")
    check("player")
    page.keyboard.press("Escape")
    visitor.submit(f"{visitor.base_url}/openapi.json")  # no video
    page.wait_for_selector(".status.failed", timeout=90_000)
    check("task-failed")
    visitor.open("tasks")
    page.wait_for_selector(".row")
    check("tasks")
    visitor.open("brand")
    page.wait_for_selector("#brand-name")
    check("brand")
    visitor.open("account")
    page.wait_for_selector(".usage")
    check("account")
