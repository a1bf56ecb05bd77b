"""A large file: cut off three times, the page reloaded, and no byte sent twice or lost."""

import hashlib
import os
import re
from pathlib import Path

import pytest
from conftest import WORK_LIMIT_MS, Visitor
from playwright.sync_api import FilePayload, Request, Route
from running_system import RunningSystem

SIZE_BYTES = 300_000_000
CUTS_BYTES = [20_000_000, 80_000_000, 200_000_000]  # where the network goes away
RELOADED_AFTER_BYTES = 120_000_000


class Pieces:
    """Where the pieces begin that the page has sent, and the network that they go through."""

    def __init__(self, visitor: Visitor) -> None:
        self.starts_bytes: list[int] = []
        self._visitor = visitor
        visitor.page.on("request", self._note)

    def _note(self, request: Request) -> None:
        if request.method == "PATCH":
            self.starts_bytes.append(int(request.headers["upload-offset"]))

    def wait_for(self, offset_bytes: int) -> None:
        self._visitor.wait_until(
            lambda: self.starts_bytes and self.starts_bytes[-1] >= offset_bytes, "a piece"
        )

    def cut(self, offset_bytes: int) -> None:
        """Go offline when a piece after this place is under way, until it has failed."""
        self.wait_for(offset_bytes)
        with self._visitor.page.expect_event("requestfailed"):
            self._visitor.context.set_offline(True)
        self._visitor.context.set_offline(False)


def _large_video(video: bytes, target: Path) -> str:
    """Write a video with noise in a free box after it; return the sha256 of the file."""
    padding = SIZE_BYTES - len(video)
    # `free` boxes are ignored, whatever is in them.
    content = video + padding.to_bytes(4, "big") + b"free" + os.urandom(padding - 8)
    target.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_large_file_after_cuts_and_a_reload(
    visitor: Visitor, system: RunningSystem, video_url: str, tmp_path: Path
) -> None:
    page = visitor.page
    source = tmp_path / "Sunday.mp4"
    sha256 = _large_video(visitor.context.request.get(video_url).body(), source)
    pieces = Pieces(visitor)
    page.set_input_files("input[type=file]", source)
    pieces.cut(CUTS_BYTES[0])
    pieces.cut(CUTS_BYTES[1])
    pieces.wait_for(RELOADED_AFTER_BYTES)
    page.on("dialog", lambda dialog: dialog.accept())  # "leave the page?"
    page.reload()
    page.wait_for_selector("#links")
    page.locator("summary").click()
    page.get_by_label("Show me the plan first").check(force=True)  # which keeps the source
    page.set_input_files("input[type=file]", source)
    pieces.cut(CUTS_BYTES[2])
    page.wait_for_url("**/#/task/*", timeout=WORK_LIMIT_MS)
    # Where an answer came to a piece, nothing before it was sent again. How often one without an
    # answer is sent depends on how soon the system notices that the network is gone.
    assert pieces.starts_bytes == sorted(pieces.starts_bytes)
    page.get_by_role("button", name="Make the clips").wait_for()
    task_id = page.url.rpartition("/")[2]
    assert _sha256(_source_of(system, task_id)) == sha256
    page.get_by_role("button", name="Make the clips").click()
    visitor.wait_done()
    assert page.evaluate("localStorage.uploads") == "{}"


def test_refused_upload_is_tried_again(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    video = visitor.context.request.get(video_url).body()
    refusal = '{"status": 403, "code": "quota_bytes", "title": "Forbidden"}'

    def refuse(route: Route) -> None:
        route.fulfill(status=403, content_type="application/problem+json", body=refusal)

    page.route("**/uploads", refuse, times=1)
    file = FilePayload(name="lap.mp4", mimeType="video/mp4", buffer=video)
    page.set_input_files("input[type=file]", file)
    page.locator(".drop .failure").wait_for()
    page.get_by_role("button", name="Retry lap.mp4").click()
    page.locator(".drop a").click()
    visitor.wait_done()
    # But for the browser's own line on a refused call.
    assert [line for line in visitor.console_errors if "403" not in line] == []


def test_upload_is_continued_after_too_many_calls(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    source = tmp_path / "Sunday.mp4"
    source.write_bytes(os.urandom(20_000_000))
    pieces = Pieces(visitor)

    def hold(route: Route) -> None:
        if int(route.request.headers.get("upload-offset", "0")) < 8_000_000:
            route.continue_()

    page.route("**/uploads/*", hold)
    page.set_input_files("input[type=file]", source)
    pieces.wait_for(8_000_000)
    page.on("dialog", lambda dialog: dialog.accept())  # "leave the page?"
    page.reload()
    page.wait_for_selector("#links")
    page.unroute_all()
    sent = len(pieces.starts_bytes)

    def refuse(route: Route) -> None:
        if route.request.method == "HEAD":
            route.fulfill(status=429, headers={"Retry-After": "1"})
            page.unroute_all()
        else:
            route.fallback()

    page.route("**/uploads/*", refuse)
    page.set_input_files("input[type=file]", source)
    visitor.wait_until(lambda: len(pieces.starts_bytes) > sent, "a piece")
    assert pieces.starts_bytes[sent] >= 4_000_000


@pytest.mark.parametrize("address", ["**/uploads", re.compile("/tasks$")], ids=["upload", "task"])
def test_file_waits_where_there_are_too_many_calls(
    visitor: Visitor, video_url: str, address: str | re.Pattern[str]
) -> None:
    """As of an office with one address: of hundreds of files each would have to be retried."""
    page = visitor.page
    page.route(
        address,
        lambda route: route.fulfill(status=429, headers={"Retry-After": "1"}),
        times=1,
    )
    file = FilePayload(name="lap.mp4", mimeType="video/mp4", buffer=_video(visitor, video_url))
    page.set_input_files("input[type=file]", file)
    page.wait_for_url("**/#/task/*")


def test_limit_of_the_account_is_not_waited_for(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    refusal = '{"status": 429, "code": "too_many_uploads"}'
    page.route(
        "**/uploads",
        lambda route: route.fulfill(
            status=429, content_type="application/problem+json", body=refusal
        ),
    )
    file = FilePayload(name="lap.mp4", mimeType="video/mp4", buffer=_video(visitor, video_url))
    page.set_input_files("input[type=file]", file)
    page.locator(".drop .failure", has_text="as many unfinished uploads").wait_for()


def test_file_is_not_sent_again_after_a_404_of_a_proxy(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    pieces = Pieces(visitor)
    html = "<p>default backend - 404</p>"
    page.route(
        re.compile("/tasks$"),
        lambda route: route.fulfill(status=404, content_type="text/html", body=html),
        times=1,
    )
    file = FilePayload(name="lap.mp4", mimeType="video/mp4", buffer=_video(visitor, video_url))
    page.set_input_files("input[type=file]", file)
    page.get_by_role("button", name="Retry lap.mp4").click()
    page.get_by_role("link", name="Open the clips of lap.mp4").wait_for()
    assert pieces.starts_bytes == [0]


def _video(visitor: Visitor, video_url: str) -> bytes:
    return visitor.context.request.get(video_url).body()


def _source_of(system: RunningSystem, task_id: str) -> Path:
    """Return the source of a planned task: the upload is its own."""
    ((path,),) = system.execute(f"SELECT source_path FROM tasks WHERE id = '{task_id}'")
    return system.home / "share" / str(path)
