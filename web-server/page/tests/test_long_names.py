"""Names and addresses without blanks are within a viewport of 320 CSS pixels."""

import pytest
from conftest import NewVisitor, Visitor
from playwright.sync_api import FilePayload, expect
from running_system import RunningSystem
from test_accessibility import BEYOND, ZOOMED

LONG = "Championship_2026_day_2_north_stand_camera_4_take_12_final_cut_v3"


@pytest.fixture
def narrow_visitor(new_visitor: NewVisitor) -> Visitor:
    visitor = new_visitor(viewport=ZOOMED)
    visitor.enter()
    return visitor


def _expect_within(visitor: Visitor) -> None:
    assert visitor.page.evaluate(BEYOND) == []


def test_name_of_a_brand_is_within_the_page(narrow_visitor: Visitor) -> None:
    page = narrow_visitor.page
    narrow_visitor.show("brand")
    page.fill("#brand-name", LONG)
    page.get_by_role("button", name="Make the brand").click()
    expect(page.locator(".good")).to_contain_text(LONG)
    _expect_within(narrow_visitor)
    page.get_by_role("button", name=f"Delete the brand {LONG}").click()
    _expect_within(narrow_visitor)


def test_names_of_keys_and_webhooks_are_within_the_page(narrow_visitor: Visitor) -> None:
    page = narrow_visitor.page
    narrow_visitor.show("account")
    page.fill("#key-name", LONG)
    page.get_by_role("button", name="Make a key").click()
    page.locator("dialog .code").wait_for()
    page.keyboard.press("Escape")
    page.fill("#hook-url", f"http://127.0.0.1:9/{LONG}")
    page.locator("form:has(#hook-url) button").click()
    page.locator("dialog .code").wait_for()
    page.keyboard.press("Escape")
    for name in ("Revoke", "Delete the webhook"):
        button = page.get_by_role("button", name=name)
        expect(button).to_have_count(1)
        _expect_within(narrow_visitor)
        button.click()
        _expect_within(narrow_visitor)
        page.keyboard.press("Escape")


def test_name_of_a_batch_is_within_the_list(narrow_visitor: Visitor, video_url: str) -> None:
    items = [{"url": video_url}, {"url": f"{video_url}?again"}]
    narrow_visitor.post("batches", {"items": items, "name": LONG})
    narrow_visitor.show("tasks")
    narrow_visitor.page.get_by_role("link", name=LONG).wait_for()
    _expect_within(narrow_visitor)


def test_name_of_a_clip_is_within_its_player(
    narrow_visitor: Visitor, system: RunningSystem
) -> None:
    page = narrow_visitor.page
    task_id = system.add_long_task(narrow_visitor.email, 2)
    system.execute(f"UPDATE parts SET name = '{LONG}' WHERE task_id = '{task_id}'")
    narrow_visitor.show(f"task/{task_id}")
    page.get_by_role("button", name=f"Play {LONG}").first.click()
    page.get_by_role("dialog").wait_for()
    _expect_within(narrow_visitor)


def test_failed_file_has_the_width_of_the_page(narrow_visitor: Visitor) -> None:
    """Not the part of it that two buttons leave, where its name was cut off."""
    page = narrow_visitor.page
    body = '{"status": 403, "code": "quota_bytes"}'
    page.route(
        "**/uploads",
        lambda route: route.fulfill(status=403, content_type="application/problem+json", body=body),
    )
    file = FilePayload(name=f"{LONG}.mp4", mimeType="video/mp4", buffer=b"0")
    page.set_input_files("input[type=file]", file)
    page.locator(".drop .failure").wait_for()
    name = page.locator(".drop .ellipsis")
    assert name.evaluate("name => name.scrollHeight <= name.clientHeight + 1")
    assert page.locator(".drop .row-text").evaluate("text => text.clientWidth") > 200
    _expect_within(narrow_visitor)
