"""A share link opened by a visitor without an account."""

import re

import pytest
from conftest import NewVisitor, Visitor
from playwright.sync_api import Route, expect


def _link(visitor: Visitor, video_url: str) -> str:
    visitor.submit(video_url, name="Sunday race")
    visitor.wait_done()
    visitor.page.get_by_role("button", name="Share").click()
    return visitor.page.locator("dialog .code").input_value()


def test_link_is_asked_for_again_where_nothing_answers(
    visitor: Visitor, new_visitor: NewVisitor, video_url: str
) -> None:
    link = _link(visitor, video_url)
    stranger = new_visitor()

    def answer(route: Route) -> None:
        is_document = route.request.resource_type == "document"
        (Route.continue_ if is_document else Route.abort)(route)

    stranger.page.route("**/s/*", answer)
    stranger.page.goto(link)
    stranger.page.locator(".failure").wait_for()
    stranger.page.unroute_all()
    expect(stranger.page.locator(".card")).to_have_count(1)
    expect(stranger.page).to_have_title("Sunday race · idrl")
    expect(stranger.page.locator(".failure")).to_have_count(0)


def test_clips_are_downloaded_without_scripts(
    visitor: Visitor, new_visitor: NewVisitor, video_url: str
) -> None:
    link = _link(visitor, video_url)
    guest = new_visitor(java_script_enabled=False)
    guest.page.goto(link)
    expect(guest.page).to_have_title("Sunday race · idrl")
    for name, file in (("Clip 1", "Sunday race 01.mp4"), ("Download all", "Sunday race.zip")):
        with guest.page.expect_download() as started:
            guest.page.get_by_role("link", name=name).click()
        assert started.value.suggested_filename == file


@pytest.mark.parametrize("words", ["This page needs JavaScript", "Esta página necesita JavaScript"])
def test_page_without_scripts_has_words_in_each_language(
    new_visitor: NewVisitor, words: str
) -> None:
    guest = new_visitor(java_script_enabled=False)
    guest.page.goto(guest.base_url)
    expect(guest.page.get_by_text(re.compile(words))).to_be_visible()


def test_pictures_of_upright_clips_are_shown_whole(
    visitor: Visitor, new_visitor: NewVisitor, video_url: str
) -> None:
    """The link does not tell their shape; the middle of a face was what was left of it."""
    visitor.page.evaluate("document.querySelector('input[value=\"9:16\"]').click()")
    link = _link(visitor, video_url)
    guest = new_visitor()
    guest.page.goto(link)
    guest.page.locator(".card img").wait_for()
    guest.wait_true("document.querySelector('.card img').naturalHeight > 0")
    shown = guest.page.locator(".card img").evaluate(
        """(img) => {
          const {clientWidth, clientHeight, naturalWidth, naturalHeight} = img;
          const fit = getComputedStyle(img).objectFit === 'cover' ? Math.max : Math.min;
          const scale = fit(clientWidth / naturalWidth, clientHeight / naturalHeight);
          return Math.min(1, clientHeight / (scale * naturalHeight));
        }"""
    )
    assert shown == pytest.approx(1)
