"""What was typed for a new task stays when the page is loaded again."""

from conftest import Visitor, lose_answer
from playwright.sync_api import expect


def test_links_and_options_are_there_after_a_reload(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    page.fill("#links", f"{video_url}?a\n{video_url}?b")
    page.locator("summary").click()
    page.fill("#part_seconds", "2")
    page.get_by_label("9:16").check(force=True)
    page.reload()
    expect(page.locator("#links")).to_have_value(f"{video_url}?a\n{video_url}?b")
    expect(page.locator("#part_seconds")).to_have_value("2")
    expect(page.locator("#part_seconds")).to_be_visible()
    expect(page.get_by_label("9:16")).to_be_checked()
    page.get_by_role("button", name="Make clips of 2 videos").click()
    page.wait_for_url("**/#/batch/*")
    for listed in visitor.context.request.get(f"{visitor.base_url}/tasks").json():
        task = visitor.context.request.get(f"{visitor.base_url}{listed['link']}").json()
        assert (task["edit"]["aspect"], task["edit"]["part_seconds"]) == ("9:16", 2)
    visitor.open("new")
    page.reload()
    expect(page.locator("#links")).to_have_value("")  # it was sent


def test_lost_answer_makes_no_second_task_after_a_reload(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    page.route("**/tasks", lose_answer, times=1)
    page.fill("#links", video_url)
    page.locator("form button.primary").click()
    page.locator("form > .failure").wait_for()
    page.reload()
    page.locator("form button.primary:enabled").click()
    page.wait_for_url("**/#/task/*")
    assert len(visitor.context.request.get(f"{visitor.base_url}/tasks").json()) == 1


def test_next_user_of_the_browser_sees_no_typed_text(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    page.fill("#links", f"{video_url}?secret")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_selector("#email")
    assert "secret" not in page.evaluate("JSON.stringify({...sessionStorage, ...localStorage})")
    visitor.sign_up()
    expect(page.locator("#links")).to_have_value("")
