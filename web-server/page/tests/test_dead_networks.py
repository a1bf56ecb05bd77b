"""A network that drops what is sent: no error and no answer, as after a laptop's sleep."""

import os
from collections.abc import Callable

import pytest
from conftest import Visitor, lose_answer
from playwright.sync_api import FilePayload, Route, expect
from test_uploads_elsewhere import PIECES

CALL_LIMIT_MS = 60_000
PAUSE_MS = 2_000
WAITS = "it goes on by itself"


@pytest.fixture
def visitor(timed_visitor: Visitor) -> Visitor:
    """A visitor whose clock only the test moves on: else a pause ends before it has been seen."""
    timed_visitor.pause_clock()
    return timed_visitor


def _swallow(visitor: Visitor, address: str, method: str, *, after: int = 0) -> list[Route]:
    """Give no answer to one call, after this many others."""
    calls: list[Route] = []

    def leave_unanswered(route: Route) -> None:
        if route.request.method == method:
            calls.append(route)
        if route.request.method != method or len(calls) != after + 1:
            route.continue_()

    visitor.page.route(address, leave_unanswered)
    return calls


def _video_file(visitor: Visitor, video_url: str) -> FilePayload:
    content = visitor.context.request.get(video_url).body()
    return FilePayload(name="lap.mp4", mimeType="video/mp4", buffer=content)


def test_piece_without_a_response_is_sent_again(visitor: Visitor) -> None:
    page = visitor.page
    calls = _swallow(visitor, PIECES, "PATCH", after=1)
    content = os.urandom(9_000_000)
    page.set_input_files(
        "input[type=file]", FilePayload(name="lap.mp4", mimeType="video/mp4", buffer=content)
    )
    visitor.wait_until(lambda: len(calls) == 2, "a piece")
    page.clock.run_for(CALL_LIMIT_MS)
    page.locator(".drop").get_by_text(WAITS).wait_for()
    page.clock.run_for(PAUSE_MS)
    page.wait_for_url("**/#/task/*")
    starts_bytes = [int(route.request.headers["upload-offset"]) for route in calls]
    assert starts_bytes == [0, 4_194_304, 4_194_304, 8_388_608]


@pytest.mark.parametrize("address", ["**/uploads", "**/tasks"])
def test_upload_call_without_a_response_is_repeated(
    visitor: Visitor, video_url: str, address: str
) -> None:
    page = visitor.page
    calls = _swallow(visitor, address, "POST")
    page.set_input_files("input[type=file]", _video_file(visitor, video_url))
    visitor.wait_until(lambda: calls, "the call")
    page.clock.run_for(CALL_LIMIT_MS)
    page.locator(".drop").get_by_text(WAITS).wait_for()
    page.clock.run_for(PAUSE_MS)
    page.wait_for_url("**/#/task/*")
    assert len(visitor.context.request.get(f"{visitor.base_url}/tasks").json()) == 1


def test_form_without_a_response_can_be_sent_again(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    calls = _swallow(visitor, "**/tasks", "POST")
    page.fill("#links", video_url)
    page.locator("form button.primary").click()
    visitor.wait_until(lambda: calls, "the call")
    page.clock.run_for(CALL_LIMIT_MS)
    page.locator("form > .failure").wait_for()
    page.locator("form button.primary").click()
    page.wait_for_url("**/#/task/*")


@pytest.mark.parametrize("address", ["**/uploads", "**/tasks"])
def test_file_shows_that_it_waits(visitor: Visitor, video_url: str, address: str) -> None:
    """For an upload to begin, and for its task to be made."""
    page = visitor.page
    answers: list[Callable[[Route], None]] = [Route.abort, lose_answer]
    page.route(
        address,
        lambda route: (
            answers.pop(0)(route)
            if route.request.method == "POST" and answers
            else route.continue_()
        ),
    )
    page.set_input_files("input[type=file]", _video_file(visitor, video_url))
    page.locator(".drop").get_by_text(WAITS).wait_for()
    page.clock.resume()
    page.wait_for_url("**/#/task/*")
    expect(page.get_by_text(WAITS)).to_have_count(0)


def test_file_canceled_while_its_task_waits_makes_none(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    page.route("**/tasks", lambda route: route.abort())
    page.set_input_files("input[type=file]", _video_file(visitor, video_url))
    page.locator(".drop").get_by_text(WAITS).wait_for()
    page.unroute("**/tasks")
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        page.get_by_role("button", name="Cancel the upload of lap.mp4").click()
    page.clock.run_for(20_000)
    for path in ("tasks", "uploads"):
        assert visitor.context.request.get(f"{visitor.base_url}/{path}").json() == [], path
