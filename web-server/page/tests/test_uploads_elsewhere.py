"""Uploads while the user does something else, and what is not a file."""

import re

import pytest
from conftest import Visitor
from playwright.sync_api import FilePayload, Route, expect

PIECES = "**/uploads/*"
DROP = """([selector, name]) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([name && 'bytes'], name || 'empty.mp4'));
  const event = new DragEvent('drop', {dataTransfer, bubbles: true, cancelable: true});
  document.querySelector(selector).dispatchEvent(event);
  return event.defaultPrevented;
}"""


PROGRESS = "document.querySelector('.drop progress')?.value"


def _video_file(visitor: Visitor, video_url: str, name: str = "lap.mp4") -> FilePayload:
    content = visitor.context.request.get(video_url).body()
    return FilePayload(name=name, mimeType="video/mp4", buffer=content)


def _hold_pieces(visitor: Visitor) -> list[Route]:
    """Keep what is sent of files until `continue_`."""
    waiting: list[Route] = []
    visitor.page.route(
        PIECES,
        lambda route: (
            waiting.append(route) if route.request.method == "PATCH" else route.continue_()
        ),
    )
    return waiting


def _release(visitor: Visitor, waiting: list[Route]) -> None:
    visitor.wait_until(lambda: waiting, "a piece")
    for route in waiting:
        route.continue_()
    visitor.page.unroute(PIECES)


def test_upload_continues_on_other_screens(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    waiting = _hold_pieces(visitor)
    page.set_input_files("input[type=file]", _video_file(visitor, video_url))
    page.locator(".drop li").wait_for()
    visitor.open("brand")
    page.fill("#brand-name", "Half typed")
    visitor.open("new")
    page.locator(".drop li", has_text="lap.mp4").wait_for()
    visitor.open("brand")
    page.fill("#brand-name", "Half typed")
    with page.expect_response(lambda answer: answer.url.endswith("/tasks")):
        _release(visitor, waiting)
    expect(page.locator("[role=status]")).to_have_text("Accepted.")
    assert page.url.endswith("#/brand")
    expect(page.locator("#brand-name")).to_have_value("Half typed")
    visitor.open("new")
    page.get_by_role("link", name="Open the clips of lap.mp4").click()
    page.wait_for_url("**/#/task/*")


def test_tab_asks_before_it_is_closed_on_every_screen(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    waiting = _hold_pieces(visitor)
    page.set_input_files("input[type=file]", _video_file(visitor, video_url))
    visitor.open("tasks")
    page.wait_for_selector(".empty")
    page.locator("main").click()  # browsers ask only who has touched the page
    visitor.wait_until(lambda: waiting, "a piece")
    with page.expect_event("dialog") as event:
        page.on("dialog", lambda dialog: dialog.accept())
        page.reload()
    assert event.value.type == "beforeunload"


def test_links_typed_meanwhile_stay(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    waiting = _hold_pieces(visitor)
    page.set_input_files("input[type=file]", _video_file(visitor, video_url))
    page.fill("#links", f"{video_url}?half")
    _release(visitor, waiting)
    page.get_by_role("link", name="Open the clips of lap.mp4").wait_for()
    expect(page.locator("[role=status]")).to_have_text("Accepted.")
    expect(page.locator("#links")).to_have_value(f"{video_url}?half")
    assert page.url.endswith("#/") or page.url.endswith("#/new")


def test_options_of_a_file_are_those_it_was_sent_with(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    waiting = _hold_pieces(visitor)
    page.locator("summary").click()
    page.get_by_label("9:16").check(force=True)
    page.set_input_files("input[type=file]", _video_file(visitor, video_url))
    visitor.submit(video_url)  # which clears the form
    visitor.open("new")
    page.locator(".drop li", has_text="lap.mp4").wait_for()
    _release(visitor, waiting)
    page.wait_for_url("**/#/task/*")
    task_id = page.url.rpartition("/")[2]
    answer = visitor.context.request.get(f"{visitor.base_url}/tasks/{task_id}")
    assert answer.json()["edit"]["aspect"] == "9:16"


def test_upload_shows_that_it_waits_for_the_network(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    cut = [True]
    page.route(
        PIECES,
        lambda route: (
            route.abort() if route.request.method == "PATCH" and cut else route.continue_()
        ),
    )
    page.set_input_files("input[type=file]", _video_file(visitor, video_url))
    page.get_by_text("it goes on by itself").wait_for()
    cut.clear()
    page.wait_for_url("**/#/task/*")


def test_canceled_upload_leaves_nothing(visitor: Visitor, video_url: str) -> None:
    """Also one whose task was refused."""
    page = visitor.page
    refusal = '{"status": 403, "code": "quota_bytes"}'
    page.route(
        re.compile("/tasks$"),
        lambda route: route.fulfill(
            status=403, content_type="application/problem+json", body=refusal
        ),
    )
    page.set_input_files("input[type=file]", _video_file(visitor, video_url))
    page.locator(".drop .failure").wait_for()
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        page.get_by_role("button", name="Cancel the upload of lap.mp4").click()
    assert visitor.context.request.get(f"{visitor.base_url}/uploads").json() == []


def test_empty_file_and_folder_are_refused_at_once(visitor: Visitor) -> None:
    page = visitor.page
    page.evaluate(DROP, [".drop", ""])
    page.get_by_text("The file is empty.").wait_for()
    # As a folder is, which scripts cannot make.
    page.evaluate("""File.prototype.slice = () => ({
      arrayBuffer: () => Promise.reject(new DOMException('', 'NotReadableError'))})""")
    page.evaluate(DROP, [".drop", "folder"])
    page.get_by_text("The file cannot be read").wait_for()
    assert visitor.context.request.get(f"{visitor.base_url}/uploads").json() == []


@pytest.mark.parametrize("place", ["", "tasks", "account"])
def test_file_dropped_elsewhere_does_not_replace_the_page(visitor: Visitor, place: str) -> None:
    visitor.open(place)
    visitor.page.wait_for_selector("h1")
    assert visitor.page.evaluate(DROP, ["h1", "lap.mp4"])


def test_file_may_be_dropped_on_a_field_for_files(visitor: Visitor) -> None:
    visitor.open("brand")
    visitor.page.wait_for_selector("#brand-before")
    assert not visitor.page.evaluate(DROP, ["#brand-before", "logo.png"])


@pytest.mark.parametrize("button", ["Log out", "Log out everywhere"])
def test_log_out_ends_uploads_after_a_question(
    visitor: Visitor, video_url: str, button: str
) -> None:
    """It was a click beside the language, and the hours of a large file were lost."""
    page = visitor.page
    waiting = _hold_pieces(visitor)
    page.set_input_files("input[type=file]", _video_file(visitor, video_url))
    visitor.wait_until(lambda: waiting, "a piece")
    visitor.open("account")
    page.get_by_role("button", name=button, exact=True).click()
    dialog = page.get_by_role("dialog", name="Log out now?")
    dialog.get_by_role("button", name="Keep sending").click()
    expect(page.locator("dialog")).to_have_count(0)
    visitor.open("new")
    expect(page.locator(".drop li")).to_have_count(1)
    visitor.open("account")
    page.get_by_role("button", name=button, exact=True).click()
    dialog.get_by_role("button", name=button).click()
    page.wait_for_selector("#email")
    visitor.sign_up()
    expect(visitor.page.locator(".drop li")).to_have_count(0)


def test_retry_takes_the_options_of_its_file(visitor: Visitor, video_url: str) -> None:
    """Not those of the form, which was cleared since."""
    page = visitor.page
    refusal = '{"status": 403, "code": "quota_bytes"}'
    page.route(
        "**/uploads",
        lambda route: route.fulfill(
            status=403, content_type="application/problem+json", body=refusal
        ),
        times=1,
    )
    page.locator("summary").click()
    page.get_by_label("9:16").check(force=True)
    page.set_input_files("input[type=file]", _video_file(visitor, video_url))
    page.locator(".drop .failure").wait_for()
    visitor.submit(video_url)
    visitor.open("new")
    page.get_by_role("button", name="Retry lap.mp4").click()
    page.get_by_role("link", name="Open the clips of lap.mp4").click()
    page.wait_for_url("**/#/task/*")
    task_id = page.url.rpartition("/")[2]
    answer = visitor.context.request.get(f"{visitor.base_url}/tasks/{task_id}")
    assert answer.json()["edit"]["aspect"] == "9:16"


@pytest.mark.parametrize(("count", "name"), [(1, "Sunday race"), (2, "lap 0.mp4")])
def test_name_is_that_of_a_single_file(
    visitor: Visitor, video_url: str, count: int, name: str
) -> None:
    page = visitor.page
    page.locator("summary").click()
    page.fill("#name", "Sunday race")
    files = [_video_file(visitor, video_url, f"lap {n}.mp4") for n in range(count)]
    page.set_input_files("input[type=file]", files)
    visitor.wait_until(lambda: len(_tasks(visitor)) == count, "the tasks")
    assert name in [task["name"] for task in _tasks(visitor)]


def _tasks(visitor: Visitor) -> list[dict[str, object]]:
    tasks: list[dict[str, object]] = visitor.context.request.get(f"{visitor.base_url}/tasks").json()
    return tasks


def test_mistyped_options_are_refused_before_the_file_is_sent(
    visitor: Visitor, video_url: str
) -> None:
    page = visitor.page
    page.locator("summary").click()
    page.fill("#end_s", "later")
    page.set_input_files("input[type=file]", _video_file(visitor, video_url))
    page.locator(".drop .failure", has_text="Write the time as 1:05").wait_for()
    assert visitor.context.request.get(f"{visitor.base_url}/uploads").json() == []


def test_progress_is_shown_within_a_piece(visitor: Visitor) -> None:
    """On a slow line a piece of 4 MiB takes a minute."""
    page = visitor.page
    session = visitor.context.new_cdp_session(page)
    session.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 100_000}
    session.send("Network.emulateNetworkConditions", slow)
    file = FilePayload(name="lap.mp4", mimeType="video/mp4", buffer=bytes(3_000_000))
    page.set_input_files("input[type=file]", file)
    visitor.wait_until(lambda: 5 < (page.evaluate(PROGRESS) or 0) < 100, "a part of the piece")
    page.locator(".drop .facts", has_text="left").wait_for()
    page.get_by_role("button", name="Cancel the upload of lap.mp4").click()


def test_upload_that_a_reload_has_cut_is_named(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    waiting = _hold_pieces(visitor)
    page.set_input_files("input[type=file]", _video_file(visitor, video_url))
    visitor.wait_until(lambda: waiting, "a piece")
    unfinished = page.locator(".drop li", has_text="Choose this file again")
    expect(unfinished).to_have_count(0)
    page.on("dialog", lambda dialog: dialog.accept())  # "leave the page?"
    page.reload()
    expect(unfinished).to_contain_text("lap.mp4")
    expect(unfinished).to_contain_text("0 bytes of")
    page.get_by_role("button", name="Cancel the upload of lap.mp4").click()
    expect(unfinished).to_have_count(0)
    assert visitor.context.request.get(f"{visitor.base_url}/uploads").json() == []
    assert page.evaluate("localStorage.uploads") == "{}"


def test_upload_continues_as_soon_as_the_network_is_back(
    timed_visitor: Visitor, video_url: str
) -> None:
    visitor = timed_visitor
    page = visitor.page
    film = _video_file(visitor, video_url)
    visitor.pause_clock()  # no pause between two tries ends by itself
    visitor.context.set_offline(True)
    page.set_input_files("input[type=file]", film)
    page.get_by_text("it goes on by itself").wait_for()
    visitor.context.set_offline(False)
    visitor.wait_until(lambda: _tasks(visitor), "the task")


def test_retry_takes_the_options_that_were_corrected(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    page.locator("summary").click()
    page.fill("#start_s", "one second")
    page.set_input_files("input[type=file]", _video_file(visitor, video_url))
    page.locator(".drop .failure", has_text="Write the time as 1:05").wait_for()
    page.fill("#start_s", "0:01")
    page.get_by_role("button", name="Retry lap.mp4").click()
    page.get_by_role("link", name="Open the clips of lap.mp4").click()
    page.wait_for_url("**/#/task/*")


DROP_LINKS = """([type, text]) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.setData(type, text);
  document.querySelector('.drop').dispatchEvent(
    new DragEvent('drop', {dataTransfer, bubbles: true, cancelable: true}));
}"""


@pytest.mark.parametrize("kind", ["text/uri-list", "text/plain"])
def test_links_may_be_dropped_where_files_are(visitor: Visitor, kind: str) -> None:
    page = visitor.page
    page.fill("#links", "https://example.com/a.mp4")
    page.evaluate(DROP_LINKS, [kind, "https://example.com/b.mp4\r\nhttps://example.com/c.mp4"])
    page.get_by_role("button", name="Make clips of 3 videos").wait_for()


def test_comments_of_dropped_links_are_no_links(visitor: Visitor) -> None:
    """Lines of text/uri-list end with CRLF, and those that begin with # are comments (RFC 2483)."""
    page = visitor.page
    links = "# Race day\r\nhttps://example.com/a.mp4\r\n# lap 2\r\nhttps://example.com/b.mp4\r\n"
    page.evaluate(DROP_LINKS, ["text/uri-list", links])
    page.get_by_role("button", name="Make clips of 2 videos").wait_for()
