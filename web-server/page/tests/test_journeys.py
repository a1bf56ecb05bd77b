"""From nothing to downloaded clips: by mouse, by keyboard, with a finger on a phone."""

import hashlib
import io
import re
import time
import zipfile
from pathlib import Path

import pytest
from conftest import PASSWORD, WORK_LIMIT_MS, NewVisitor, Visitor
from playwright.sync_api import FilePayload, FloatRect, Request, expect
from running_system import RunningSystem

# The second click comes before the first one's answer.
SLOW_ANSWERS = {
    "offline": False,
    "latency": 300,
    "downloadThroughput": -1,
    "uploadThroughput": -1,
}
SMALL_TARGETS = """[...document.querySelectorAll('a, button, select, summary, .check, .pick')]
  .filter(each => each.offsetParent && !each.closest('.skip, .hidden'))
  .filter(each => [each.getBoundingClientRect()].some(box => box.height < 44 || box.width < 44))
  .map(each => each.outerHTML)"""


def clip_hashes(visitor: Visitor, task_id: str) -> list[str]:
    """Return the SHA-256 of a task's clips, as the API shows them."""
    task = visitor.context.request.get(f"{visitor.base_url}/tasks/{task_id}").json()
    return sorted(part["sha256"] for part in task["parts"])


def hashes_in(archive: bytes) -> list[str]:
    """Return the hashes of the clips in a ZIP."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        clips = [name for name in opened.namelist() if name.endswith(".mp4")]
        return sorted(hashlib.sha256(opened.read(name)).hexdigest() for name in clips)


def beside_the_first_card(visitor: Visitor) -> bytes:
    """Return a picture of the few pixels left of the first card."""
    box = visitor.page.locator(".card .picture").first.bounding_box()
    assert box
    strip = FloatRect(x=box["x"] - 5, y=box["y"] + 20, width=5, height=40)
    return visitor.page.screenshot(clip=strip)


def check_as_a_guest(guest: Visitor, link: str, expected: list[str]) -> None:
    """Open a share link without an account: clips with these hashes are played and downloaded."""
    page = guest.page
    page.goto(link)
    page.wait_for_selector(".card.done")
    assert page.locator("nav").count() == 0
    page.locator(".card .picture").first.click()
    guest.wait_true("document.querySelector('video')?.currentTime > 0")
    page.keyboard.press("Escape")
    with page.expect_download() as started:
        page.get_by_role("link", name="Download all").click()
    assert hashes_in(Path(started.value.path()).read_bytes()) == expected
    with page.expect_download() as clip:
        page.locator(".card a").first.click()
    assert clip.value.suggested_filename == "video 01.mp4"
    page.goto(f"{link[:-4]}AAAA")  # another signature
    page.locator("main > .failure").wait_for()
    expect(page.locator(".card")).to_have_count(0)
    assert [each for each in guest.console_errors if "404" not in each] == []


def test_by_mouse(visitor: Visitor, new_visitor: NewVisitor, video_url: str) -> None:
    page = visitor.page
    visitor.submit(video_url, part_seconds="2")
    page.wait_for_selector(".card.done")
    page.locator(".card.done .picture").first.click()
    visitor.wait_true("document.querySelector('video')?.currentTime > 0")
    page.keyboard.press("Escape")
    visitor.wait_done()
    with page.expect_download() as started:
        page.get_by_role("link", name="Download all").click()
    hashes = hashes_in(Path(started.value.path()).read_bytes())
    assert hashes == clip_hashes(visitor, page.url.rpartition("/")[2])
    # As on a phone; Chromium has no apps to share with here.
    page.evaluate("navigator.share = async (what) => { window.shared = what }")
    page.get_by_role("button", name="Share").click()
    page.get_by_role("button", name="Share by…").click()
    visitor.wait_true("window.shared")
    shared = page.evaluate("window.shared.url")
    assert visitor.context.request.get(f"{shared}/manifest.json").ok
    check_as_a_guest(new_visitor(), shared, hashes)
    page.keyboard.press("Escape")
    page.get_by_text("What happened").click()
    expect(page.locator(".events time").first).to_have_text(re.compile(r":\d\d:\d\d"))
    page.get_by_role("button", name="Delete").click()
    page.locator("dialog .primary").click()
    page.wait_for_url("**/#/tasks")
    page.wait_for_selector(".empty")
    assert visitor.console_errors == []
    assert visitor.hosts == {visitor.base_url.split("/")[2]}


def test_chosen_tasks_are_downloaded_as_one_zip(
    visitor: Visitor, system: RunningSystem, video_url: str
) -> None:
    page = visitor.page
    hashes = []
    for _ in range(2):
        task_id = visitor.submit(video_url)
        visitor.wait_done()
        hashes += clip_hashes(visitor, task_id)
    system.add_tasks(visitor.email, 1)  # without a clip
    visitor.open("tasks")
    picks = visitor.show_rows(3).locator("input")
    bulk = page.locator(".bulk")
    picks.nth(0).check()
    expect(bulk.get_by_role("button", name="Delete")).to_be_visible()
    expect(bulk.get_by_role("link", name="Download")).to_have_count(0)
    for number in (1, 2):
        picks.nth(number).check()
    with page.expect_download() as started:
        bulk.get_by_role("link", name="Download").click()
    assert started.value.suggested_filename == "clips.zip"
    assert hashes_in(Path(started.value.path()).read_bytes()) == sorted(hashes)


def test_by_keyboard_alone(new_visitor: NewVisitor, video_url: str) -> None:
    visitor = new_visitor()
    page, press = visitor.page, visitor.page.keyboard
    visitor.open()
    page.wait_for_selector("#email")
    page.locator("#tab-false").focus()
    press.press("ArrowRight")
    page.wait_for_selector("#username")
    expect(page.locator("#tab-true")).to_be_focused()
    unique = time.time_ns()
    for text in (f"Grace {unique}", f"grace-{unique}@example.com", PASSWORD):
        press.press("Tab")
        if page.evaluate("document.activeElement.tagName") != "INPUT":
            press.press("Tab")
        press.type(text)
    press.press("Enter")
    page.wait_for_selector("#links")
    page.locator("#links").focus()
    press.type(video_url)
    press.press("Control+Enter")
    page.wait_for_url("**/#/task/*")
    visitor.wait_done()
    page.locator("main").focus()
    before = beside_the_first_card(visitor)
    press.press("j")
    # The ring of the focus, which is not cut off.
    visitor.wait_until(lambda: beside_the_first_card(visitor) != before)
    press.press("Enter")
    page.wait_for_selector("video")
    press.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    press.press("n")
    page.wait_for_url("**/#/new")
    press.press("?")
    page.locator("dialog kbd").first.wait_for()
    press.press("Escape")
    page.locator("dialog").wait_for(state="detached")
    visitor.open("account")
    shortcuts = page.get_by_label("Keyboard shortcuts")
    shortcuts.uncheck()
    page.locator("main").focus()
    press.press("?")
    press.press("n")
    shortcuts.check()  # it does not stay behind a dialog, nor on another screen
    page.locator("main").focus()
    press.press("?")
    page.locator("dialog kbd").first.wait_for()
    expect(page.locator("dialog")).to_have_count(1)
    assert page.url.endswith("#/account")
    assert visitor.console_errors == []


def test_on_a_phone(new_visitor: NewVisitor, video_url: str) -> None:
    visitor = new_visitor(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    visitor.sign_up()
    visitor.submit(video_url)
    visitor.wait_done()
    for place in ("new", "tasks", "brand", "account", visitor.page.url.partition("#/")[2]):
        visitor.show(place)
        for summary in visitor.page.locator("summary").all():
            summary.click()
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 360, place
        assert visitor.page.evaluate(SMALL_TARGETS) == [], place


def test_plan_is_shown_before_clips_are_made(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    page.fill("#links", video_url)
    page.locator(".options-box summary").click()
    page.get_by_label("Show me the plan first").check(force=True)
    page.get_by_label("At scene changes").check(force=True)
    page.locator("form button.primary").click()
    page.wait_for_url("**/#/task/*")
    page.get_by_role("button", name="Make the clips").wait_for()
    expect(page.locator(".card")).not_to_have_count(0)
    expect(page.locator(".card.done")).to_have_count(0)
    page.get_by_text("Change where clips begin and end").click()
    page.get_by_label("Clips, in this order").fill("0:01 - 0:02.5 Lap\n3 - 2 Wrong")
    page.get_by_role("button", name="Plan again").click()
    page.locator(".options-box .failure").wait_for()
    page.get_by_label("Clips, in this order").fill("0:01 - 0:02.5 Lap\n0:00 - 0:01")
    page.get_by_role("button", name="Plan again").click()
    page.get_by_text("Lap", exact=True).wait_for()
    expect(page.locator(".card")).to_have_count(2)
    page.get_by_role("button", name="Make the clips").click()
    visitor.wait_done()
    expect(page.locator(".card.done")).to_have_count(2)
    # But for the browser's own line on a refused call.
    assert [line for line in visitor.console_errors if "400" not in line] == []


def test_brand_is_made_chosen_and_deleted(visitor: Visitor, video_url: str, tmp_path: Path) -> None:
    page = visitor.page
    logo = tmp_path / "logo.png"
    page.screenshot(path=logo, clip={"x": 0, "y": 0, "width": 96, "height": 48})
    page.fill("#links", video_url)
    visitor.open("brand")
    page.fill("#brand-name", "Red")
    page.set_input_files("#brand-watermark", str(logo))
    page.get_by_role("button", name="Make the brand").click()
    page.locator(".previews img").first.wait_for()
    visitor.wait_true("[...document.querySelectorAll('.previews img')].every(i => i.naturalWidth)")
    page.get_by_text("The brand “Red” is ready.").first.wait_for()
    expect(page.get_by_label("Red", exact=True)).to_be_checked()
    drawing = FilePayload(name="x.svg", mimeType="image/png", buffer=b"<svg/>")
    page.set_input_files("#brand-before", drawing)
    page.fill("#brand-name", "Drawn")
    page.get_by_role("button", name="Make the brand").click()
    page.locator("#brand-before-error").wait_for()
    visitor.wait_true("scrollY > 0")
    visitor.open("new")
    visitor.wait_true("scrollY === 0")
    # Typed before the logo was thought of.
    expect(page.locator("#links")).to_have_value(video_url)
    page.locator("summary").click()
    page.get_by_text("Default: Red").wait_for(state="attached")
    page.locator("form button.primary").click()
    page.wait_for_url("**/#/task/*")
    task_id = page.url.rpartition("/")[2]
    answer = visitor.context.request.get(f"{visitor.base_url}/tasks/{task_id}")
    (brand,) = visitor.context.request.get(f"{visitor.base_url}/brands").json()
    assert answer.json()["edit"]["brand_id"] == brand["brand_id"]
    visitor.open("brand")
    page.get_by_role("button", name="Delete the brand Red").click()
    page.locator("dialog .primary").click()
    page.locator(".previews").wait_for(state="detached")
    # But for the browser's own line on a refused call.
    assert [line for line in visitor.console_errors if "422" not in line] == []


def test_several_links_make_a_batch(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    page.fill("#links", f"{video_url}\n{video_url}?again")
    page.get_by_role("button", name="Make clips of 2 videos").click()
    page.wait_for_url("**/#/batch/*")
    expect(page.locator(".row")).to_have_count(2)
    page.get_by_text("2/2 videos done").wait_for(timeout=WORK_LIMIT_MS)
    with page.expect_download() as started:
        page.get_by_role("link", name="Download all").click()
    tasks = visitor.context.request.get(f"{visitor.base_url}/tasks").json()
    wanted = sorted(sha256 for task in tasks for sha256 in clip_hashes(visitor, task["task_id"]))
    assert hashes_in(Path(started.value.path()).read_bytes()) == wanted
    visitor.open("tasks")
    page.locator(".batches a").click()
    page.wait_for_url("**/#/batch/*")
    assert visitor.console_errors == []


def test_new_tasks_are_announced(visitor: Visitor, video_url: str) -> None:
    visitor.submit(video_url)
    visitor.open("tasks")
    visitor.page.wait_for_selector(".row")
    answer = visitor.context.request.post(
        f"{visitor.base_url}/tasks",
        data={"url": video_url},
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    assert answer.status == 202
    visitor.page.get_by_text("New tasks in the list: 1").wait_for(state="attached")
    expect(visitor.page.locator(".row")).to_have_count(2)


def posts_of(visitor: Visitor) -> list[str]:
    """Return a list that gets the path of each POST from now on, as it begins."""
    posts: list[str] = []

    def note(request: Request) -> None:
        if request.method == "POST":
            posts.append(request.url.removeprefix(visitor.base_url))

    visitor.page.on("request", note)
    return posts


def test_double_click_makes_one_task(visitor: Visitor, video_url: str) -> None:
    posts = posts_of(visitor)
    visitor.page.fill("#links", video_url)
    visitor.page.locator("form button.primary").dblclick()
    visitor.page.wait_for_url("**/#/task/*")
    assert posts == ["/tasks"]
    answer = visitor.context.request.get(f"{visitor.base_url}/tasks")
    assert len(answer.json()) == 1


def test_double_click_makes_one_key_and_one_webhook(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open("account")
    session = visitor.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", SLOW_ANSWERS)
    posts = posts_of(visitor)
    page.fill("#key-name", "laptop")
    page.get_by_role("button", name="Make a key").dblclick()
    page.wait_for_selector("dialog")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    page.fill("#hook-url", "http://127.0.0.1:9/hook")
    page.get_by_role("button", name="Add the webhook").dblclick()
    page.wait_for_selector("dialog")
    assert posts == ["/me/keys", "/webhooks"]
    for path in ("me/keys", "webhooks"):
        assert len(visitor.context.request.get(f"{visitor.base_url}/{path}").json()) == 1, path


def test_sample_is_offered(visitor: Visitor) -> None:
    visitor.page.get_by_role("button", name="Try it with a sample video").click()
    visitor.page.locator("form button.primary").click()
    visitor.page.wait_for_url("**/#/task/*")
    visitor.page.get_by_role("heading", name="sample.mp4").wait_for()
    assert visitor.console_errors == []


def test_session_ends_in_the_middle(visitor: Visitor, video_url: str) -> None:
    """A dialog asks for the password; what was typed stays, and the call goes through."""
    page = visitor.page
    page.fill("#links", video_url)
    page.locator("summary").click()
    typed = {"#name": "Evening race", "#part_seconds": "2", "#start_s": "0:01"}
    for field, text in typed.items():
        page.fill(field, text)
    visitor.context.clear_cookies()
    page.locator("form button.primary").click()
    page.wait_for_selector("dialog #password")
    for field, text in {"#links": video_url, **typed}.items():
        expect(page.locator(field)).to_have_value(text)
    page.fill("dialog #password", PASSWORD)
    page.locator("dialog button.primary").click()
    page.wait_for_url("**/#/task/*")
    (listed,) = visitor.context.request.get(f"{visitor.base_url}/tasks").json()
    task = visitor.context.request.get(f"{visitor.base_url}{listed['link']}").json()
    assert (task["url"], task["name"]) == (video_url, "Evening race")
    assert (task["edit"]["part_seconds"], task["edit"]["start_s"]) == (2, 1)


def test_logged_out_in_one_tab_is_out_in_the_other(visitor: Visitor) -> None:
    other = visitor.context.new_page()
    other.goto(f"{visitor.base_url}/#/tasks")
    other.wait_for_selector("h1")
    visitor.page.get_by_role("button", name="Log out").click()
    other.wait_for_selector("#email")


@pytest.mark.parametrize("link", ["http://10.0.0.1/a.mp4", "ftp://a.example/b", "no link"])
def test_wrong_link_shows_an_error(visitor: Visitor, link: str) -> None:
    typed = link.replace(" ", "%20")
    visitor.page.fill("#links", typed)
    visitor.page.locator("form button.primary").click()
    visitor.page.wait_for_selector("form > .failure")
    expect(visitor.page.locator("#links")).to_have_value(typed)
    is_private = link == "http://10.0.0.1/a.mp4"
    expect(visitor.page.get_by_text("Send the video as a file")).to_have_count(int(is_private))


def test_file_is_uploaded(visitor: Visitor, video_url: str, tmp_path: Path) -> None:
    """Cut off in the middle, it goes on by itself; the task has all of its bytes."""
    video = visitor.context.request.get(video_url).body()
    padding = 12 * 1024 * 1024  # a free box after the video, so that there are several pieces
    source = tmp_path / "mi vídeo.mp4"
    source.write_bytes(video + padding.to_bytes(4, "big") + b"free" + bytes(padding - 8))
    cuts = iter([True, False, True])
    visitor.page.route(
        "**/uploads/*",
        lambda route: (
            route.abort()
            if route.request.method == "PATCH" and next(cuts, False)
            else route.continue_()
        ),
    )
    visitor.page.set_input_files("input[type=file]", source)
    visitor.page.wait_for_url("**/#/task/*", timeout=WORK_LIMIT_MS)
    visitor.wait_done()
    (task,) = visitor.context.request.get(f"{visitor.base_url}/tasks").json()
    assert (task["name"], task["source"]["size_bytes"]) == (source.name, source.stat().st_size)
