"""Copying a link or a secret, also where the browser denies the clipboard or has none."""

import pytest
from conftest import Visitor
from playwright.sync_api import expect

# `navigator.clipboard` is there only over https and on localhost, and users may deny it.
NONE = "Object.defineProperty(navigator, 'clipboard', {value: undefined})"
DENIED = """Object.defineProperty(navigator, 'clipboard', {value: {
  writeText: () => Promise.reject(new DOMException('', 'NotAllowedError'))}})"""
NO_COMMAND = "document.execCommand = () => false"
SELECTED = """document.activeElement.value.slice(
  document.activeElement.selectionStart, document.activeElement.selectionEnd)"""


def _make_key(visitor: Visitor) -> str:
    page = visitor.page
    visitor.open("account")
    page.fill("#key-name", "laptop")
    page.get_by_role("button", name="Make a key").click()
    return page.locator("dialog .code").input_value()


@pytest.mark.parametrize("script", [NONE, DENIED])
def test_key_is_copied_without_the_clipboards_interface(visitor: Visitor, script: str) -> None:
    page = visitor.page
    page.evaluate(script)
    key = _make_key(visitor)
    page.get_by_role("button", name="Copy", exact=True).click()
    page.get_by_role("button", name="Copied").wait_for()
    page.keyboard.press("Escape")
    page.locator("#key-name").press("Control+V")
    expect(page.locator("#key-name")).to_have_value(key)


def test_text_is_selected_where_nothing_may_be_copied(visitor: Visitor) -> None:
    page = visitor.page
    page.evaluate(NONE)
    page.evaluate(NO_COMMAND)
    key = _make_key(visitor)
    page.get_by_role("button", name="Copy", exact=True).click()
    page.get_by_role("button", name="Selected: press Ctrl+C").wait_for()
    assert page.evaluate(SELECTED) == key
