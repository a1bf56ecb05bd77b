"""A share link opened by a visitor without an account."""

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
    answers = [Route.abort]

    def answer(route: Route) -> None:
        is_document = route.request.resource_type == "document"
        (Route.continue_ if is_document or not answers else answers.pop())(route)

    stranger.page.route("**/s/*", answer)
    stranger.page.goto(link)
    stranger.page.locator(".failure").wait_for()
    expect(stranger.page.locator(".card")).to_have_count(1)
    expect(stranger.page).to_have_title("Sunday race · idrl")
    expect(stranger.page.locator(".failure")).to_have_count(0)
