"""Uploads that are canceled: nothing is left of them, and nothing waits for them."""

from conftest import Visitor, lose_answer
from playwright.sync_api import FilePayload, Route, expect

PIECES = "**/uploads/*"
# Whether the browser would ask before it closes the tab.
IS_ASKING = "!dispatchEvent(new Event('beforeunload', {cancelable: true}))"


def _video_file(visitor: Visitor, video_url: str, name: str = "lap.mp4") -> FilePayload:
    content = visitor.context.request.get(video_url).body()
    return FilePayload(name=name, mimeType="video/mp4", buffer=content)


def _names(visitor: Visitor, path: str) -> list[object]:
    rows = visitor.context.request.get(f"{visitor.base_url}/{path}").json()
    return [row["name"] for row in rows]


def _cancel(visitor: Visitor, name: str) -> None:
    visitor.page.get_by_role("button", name=f"Cancel the upload of {name}").click()


def test_upload_canceled_while_its_task_is_being_made(visitor: Visitor, video_url: str) -> None:
    waiting: list[Route] = []
    visitor.page.route("**/tasks", lambda route: waiting.append(route))
    visitor.page.set_input_files("input[type=file]", _video_file(visitor, video_url))
    visitor.wait_until(lambda: waiting, "the task's call")
    _cancel(visitor, "lap.mp4")
    waiting[0].continue_()
    visitor.page.unroute("**/tasks")
    visitor.wait_until(lambda: _names(visitor, "uploads") == [], "the end of the upload")
    visitor.page.wait_for_timeout(2000)
    visitor.wait_until(lambda: _names(visitor, "tasks") == [], "the end of the task")
    assert visitor.page.evaluate("localStorage.uploads") == "{}"


def test_tab_asks_before_it_is_closed_until_the_task_is_deleted(
    visitor: Visitor, video_url: str
) -> None:
    """Else the task of the canceled file would go on."""
    page = visitor.page
    waiting: list[Route] = []
    page.route("**/tasks", lambda route: waiting.append(route))
    page.set_input_files("input[type=file]", _video_file(visitor, video_url))
    visitor.wait_until(lambda: waiting, "the task's call")
    _cancel(visitor, "lap.mp4")
    expect(page.locator(".drop li")).to_have_count(0)
    assert page.evaluate(IS_ASKING)
    waiting[0].continue_()
    page.unroute("**/tasks")
    visitor.wait_until(lambda: not page.evaluate(IS_ASKING), "the end of the deletion")
    assert _names(visitor, "uploads") == _names(visitor, "tasks") == []


def test_upload_canceled_after_its_task_was_made_unnoticed(
    timed_visitor: Visitor, video_url: str
) -> None:
    """The answer was lost, and the page waits before it asks again."""
    visitor = timed_visitor
    visitor.pause_clock()  # else it may have asked before the file is canceled
    lost: list[Route] = []

    def lose(route: Route) -> None:
        if lost:
            route.continue_()
            return
        lose_answer(route)
        lost.append(route)

    visitor.page.route("**/tasks", lose)
    visitor.page.set_input_files("input[type=file]", _video_file(visitor, video_url))
    visitor.wait_until(lambda: lost, "the lost answer")
    visitor.page.get_by_text("it goes on by itself").wait_for()
    _cancel(visitor, "lap.mp4")
    visitor.page.clock.resume()
    visitor.wait_until(lambda: _names(visitor, "uploads") == [], "the end of the upload")
    visitor.wait_until(lambda: _names(visitor, "tasks") == [], "the end of the task")


def test_next_file_does_not_wait_for_a_canceled_one(visitor: Visitor, video_url: str) -> None:
    """Which the system has refused for a while: another tab sends to the same upload."""
    page = visitor.page
    refused: list[Route] = []

    def refuse(route: Route) -> None:
        if route.request.method == "PATCH" and not refused:
            refused.append(route)
            problem = '{"status": 423, "code": "upload_busy"}'
            headers = {"Content-Type": "application/problem+json", "Retry-After": "600"}
            route.fulfill(status=423, headers=headers, body=problem)
        else:
            route.continue_()

    page.route(PIECES, refuse)
    files = [_video_file(visitor, video_url, name) for name in ("first.mp4", "second.mp4")]
    page.set_input_files("input[type=file]", files)
    page.get_by_text("it goes on by itself").wait_for()
    _cancel(visitor, "first.mp4")
    visitor.wait_until(lambda: _names(visitor, "tasks") == ["second.mp4"], "the other task")
    visitor.wait_until(lambda: _names(visitor, "uploads") == [], "the end of the first")


def test_piece_under_way_ends_with_its_upload(visitor: Visitor, video_url: str) -> None:
    """On a slow line a piece of 4 MiB takes a minute, which the next file would wait."""
    page = visitor.page
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        if route.request.method == "PATCH" and not waiting:
            waiting.append(route)
        else:
            route.continue_()

    page.route(PIECES, hold)
    files = [_video_file(visitor, video_url, name) for name in ("first.mp4", "second.mp4")]
    page.set_input_files("input[type=file]", files)
    visitor.wait_until(lambda: waiting, "a piece")
    _cancel(visitor, "first.mp4")
    visitor.wait_until(lambda: _names(visitor, "tasks") == ["second.mp4"], "the other task")
    visitor.wait_until(lambda: _names(visitor, "uploads") == [], "the end of the first")


def _begin_two(visitor: Visitor, video_url: str) -> None:
    """Leave two uploads unfinished, as by closing the tab."""
    page = visitor.page
    pending: list[Route] = []
    page.route(PIECES, lambda route: pending.append(route))
    for name in ("first.mp4", "second.mp4"):
        with page.expect_request(lambda request: request.method == "PATCH"):
            page.set_input_files("input[type=file]", _video_file(visitor, video_url, name))
        page.once("dialog", lambda dialog: dialog.accept())
        page.reload()
        page.wait_for_selector("#links")
    page.unroute(PIECES)


def test_two_unfinished_uploads_canceled_quickly(visitor: Visitor, video_url: str) -> None:
    _begin_two(visitor, video_url)
    page = visitor.page
    waiting: list[Route] = []
    page.route(PIECES, lambda route: waiting.append(route))
    _cancel(visitor, "first.mp4")
    visitor.wait_until(lambda: waiting, "the first call")
    _cancel(visitor, "second.mp4")
    waiting[0].continue_()
    page.unroute(PIECES)
    expect(page.locator(".drop li")).to_have_count(0)
    visitor.wait_until(lambda: _names(visitor, "uploads") == [], "the end of both")


def test_unfinished_upload_stays_until_the_system_has_answered(
    visitor: Visitor, video_url: str
) -> None:
    """Else nobody could cancel it, and it would count towards the account's limits for a day."""
    _begin_two(visitor, video_url)
    page = visitor.page
    page.route(PIECES, lambda route: route.abort())
    _cancel(visitor, "first.mp4")
    page.locator(".drop .failure").wait_for()
    expect(page.locator(".drop li")).to_have_count(2)
    page.unroute(PIECES)
    _cancel(visitor, "first.mp4")
    expect(page.locator(".drop li")).to_have_count(1)
    expect(page.locator(".drop .failure")).to_have_count(0)


def test_double_click_cancels_one_upload(visitor: Visitor) -> None:
    """After the first click the next row is under the pointer."""
    page = visitor.page
    page.route("**/uploads", lambda _: None)
    names = [f"lap-{number}.mp4" for number in range(3)]
    films = [FilePayload(name=name, mimeType="video/mp4", buffer=b"film") for name in names]
    page.set_input_files("input[type=file]", films)
    page.get_by_role("button", name=f"Cancel the upload of {names[0]}").dblclick()
    expect(page.locator(".drop li .ellipsis")).to_have_text(names[1:])
    page.get_by_role("button", name=f"Cancel the upload of {names[1]}").press("Enter")
    expect(page.locator(".drop li .ellipsis")).to_have_text(names[2:])
