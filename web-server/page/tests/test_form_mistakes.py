"""What people paste and mistype: read as it was meant, or refused where it stands."""

import re
from pathlib import Path

import pytest
from conftest import Visitor, lose_answer
from playwright.sync_api import FilePayload, Page, expect
from running_system import RunningSystem

PASTED = """# Sunday

{url}?a   # the first lap

  {url}?b, {url}?c;
{url}?a
# {url}?left-out
{url}?with a blank
"""


def _open_options(page: Page) -> None:
    page.locator("summary").click()


def test_pasted_links_are_read_as_meant(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    page.fill("#links", PASTED.format(url=video_url))
    page.get_by_text("Repeated links are made once: 1 left out.").wait_for()
    page.get_by_role("button", name="Make clips of 4 videos").click()
    page.wait_for_url("**/#/batch/*")
    tasks = visitor.context.request.get(f"{visitor.base_url}/tasks").json()
    urls = sorted(task["url"].removeprefix(video_url) for task in tasks)
    assert [url.replace("%20", " ") for url in urls] == ["?a", "?b", "?c", "?with a blank"]


PASTED_FROM_A_CHAT = """Saturday
<{url}?a>
1. {url}?b
- "{url}?c",
Lap 3: {url}?d ({url}?e)
[the last one]({url}?f_(2))
{url}?of=https://example.com/g.mp4
"""


def test_links_are_found_in_the_text_around_them(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    text = PASTED_FROM_A_CHAT.format(url=video_url)
    page.fill("#links", text)
    page.locator(".lines").wait_for()
    lines = page.locator(".lines .ellipsis").all_text_contents()
    assert [line.removeprefix(video_url) for line in lines] == [
        "Saturday", "?a", "?b", "?c", "?d", "?e", "?f_(2)", "?of=https://example.com/g.mp4",
    ]  # fmt: skip
    page.fill("#links", text.partition("\n")[2])
    page.get_by_role("button", name="Make clips of 7 videos").click()
    page.wait_for_url("**/#/batch/*")


def test_refused_links_are_left_out(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    page.fill("#links", f"Saturday\n{video_url}?a\nftp://example.com/b.mp4\n{video_url}?c")
    page.get_by_role("button", name="Make clips of 4 videos").click()
    page.get_by_role("button", name="Leave out the 2 refused links").click()
    expect(page.locator("#links")).to_have_value(f"{video_url}?a\n{video_url}?c")
    expect(page.locator("form .failure")).to_have_count(0)
    page.get_by_role("button", name="Make clips of 2 videos").click()
    page.wait_for_url("**/#/batch/*")


def test_refusal_stays_at_its_link(visitor: Visitor, video_url: str) -> None:
    """When a line above it is removed."""
    page = visitor.page
    page.fill("#links", f"{video_url}?a\nftp://example.com/b.mp4\n{video_url}?c")
    page.locator("form button.primary").click()
    refused = page.locator(".lines li", has=page.locator(".failure"))
    expect(refused).to_contain_text("ftp://example.com/b.mp4")
    page.fill("#links", f"ftp://example.com/b.mp4\n{video_url}?c")
    expect(page.locator(".lines li")).to_have_count(2)
    expect(refused).to_contain_text("ftp://example.com/b.mp4")


@pytest.mark.parametrize("text", ["2,5", "2.5", " 2.5 "])
def test_seconds_are_taken_with_either_decimal_sign(
    visitor: Visitor, video_url: str, text: str
) -> None:
    page = visitor.page
    page.fill("#links", video_url)
    _open_options(page)
    page.locator("#part_seconds").press_sequentially(text)
    page.locator("form button.primary").click()
    page.wait_for_url("**/#/task/*")
    (listed,) = visitor.context.request.get(f"{visitor.base_url}/tasks").json()
    task = visitor.context.request.get(f"{visitor.base_url}{listed['link']}").json()
    assert task["edit"]["part_seconds"] == 2.5


def test_refused_link_far_down_is_shown(visitor: Visitor, video_url: str) -> None:
    links = [f"{video_url}?{n}" for n in range(40)]
    links[33] = "ftp://example.com/a.mp4"
    visitor.page.fill("#links", "\n".join(links))
    visitor.page.locator("form button.primary").click()
    refused = visitor.page.locator(".lines li", has_text="must begin with http")
    expect(refused).to_have_attribute("value", "34")
    expect(refused).to_contain_text("ftp://example.com/a.mp4")


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("start_s", "one minute", "Write the time as 1:05"),
        ("end_s", "1:xx", "Write the time as 1:05"),
        ("segments", "0:01 - 0:02\nfrom the start", "Line 2: Write it as"),
        ("segments", "0:01 - 0:02\n0:03 - 0:02", "Line 2: The end must come after the start"),
        ("part_seconds", "two", "A number from 2 to 60"),
        ("part_seconds", "100", "A number from 2 to 60"),
        ("start_s", "1.2345", None),
    ],
)
def test_mistyped_option_is_refused_at_its_field(
    visitor: Visitor, video_url: str, field: str, text: str, message: str | None
) -> None:
    page = visitor.page
    page.fill("#links", video_url)
    _open_options(page)
    page.fill(f"#{field}", text)
    page.locator("summary").click()  # folded away again
    page.locator("form button.primary").click()
    if message is None:
        page.wait_for_url("**/#/task/*")
        return
    page.locator(f"#{field}-error", has_text=message).wait_for()
    mistyped = page.locator(f"#{field}")
    expect(mistyped).to_be_focused()
    expect(mistyped).to_have_attribute("aria-invalid", "true")
    expect(mistyped).to_have_attribute("aria-describedby", re.compile(f"{field}-error"))
    visitor.open("tasks")
    page.wait_for_selector(".empty")
    visitor.open("new")  # what was mistyped is still there
    expect(page.locator(f"#{field}")).to_have_value(text)


@pytest.mark.parametrize("key", ["Enter", "Control+Enter"])
def test_wrong_number_is_shown_where_options_are_folded(
    visitor: Visitor, video_url: str, key: str
) -> None:
    page = visitor.page
    page.fill("#links", video_url)
    _open_options(page)
    page.fill("#part_seconds", "100")
    page.locator("summary").click()
    page.locator("form button.primary" if key == "Enter" else "#links").press(key)
    visitor.wait_true("document.activeElement.id === 'part_seconds'")
    expect(page.locator("#part_seconds")).to_be_visible()
    assert visitor.context.request.get(f"{visitor.base_url}/tasks").json() == []


def _plan(visitor: Visitor, video_url: str) -> None:
    """Send a link with the plan first, and open the times of the plan."""
    page = visitor.page
    page.fill("#links", video_url)
    _open_options(page)
    page.get_by_label("Show me the plan first").check(force=True)
    page.locator("form button.primary").click()
    page.get_by_text("Change where clips begin and end").click()


def test_mistyped_plan_names_its_line(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    _plan(visitor, video_url)
    page.locator("#plan").fill("0:00 - 0:01\nthe end")
    page.get_by_role("button", name="Plan again").click()
    page.locator("#plan-error", has_text="Line 2: Write it as").wait_for()
    expect(page.locator("#plan")).to_have_value("0:00 - 0:01\nthe end")


def test_typed_times_are_not_dropped_without_a_question(visitor: Visitor, video_url: str) -> None:
    page = visitor.page
    _plan(visitor, video_url)
    plan = page.locator("#plan")
    planned = plan.input_value()
    plan.fill("0:01 - 0:02 Lap")
    page.get_by_role("button", name="Make the clips").click()
    page.get_by_role("dialog", name="Make the clips of the plan before?").wait_for()
    page.keyboard.press("Enter")  # the focus is on what changes nothing
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(plan).to_have_value("0:01 - 0:02 Lap")
    expect(page.locator(".title-row .status.planned")).to_be_visible()
    plan.fill(planned)
    page.get_by_role("button", name="Make the clips").click()
    expect(page.locator(".title-row .status.planned")).to_have_count(0)


def test_same_link_again_is_another_task(visitor: Visitor, video_url: str) -> None:
    first = visitor.submit(video_url)
    assert visitor.submit(video_url) != first


def test_lost_answer_makes_no_second_task_after_another_screen(
    visitor: Visitor, video_url: str
) -> None:
    page = visitor.page
    page.route("**/tasks", lose_answer, times=1)
    page.fill("#links", video_url)
    page.locator("form button.primary").click()
    page.locator("form > .failure").wait_for()
    visitor.open("brand")
    page.wait_for_selector("#brand-name")
    visitor.open("new")
    page.locator("form button.primary").click()
    page.wait_for_url("**/#/task/*")
    assert len(visitor.context.request.get(f"{visitor.base_url}/tasks").json()) == 1


@pytest.mark.parametrize("name", ["before", "watermark"])
def test_empty_file_of_a_brand_is_refused_at_its_field(visitor: Visitor, name: str) -> None:
    """It may be one whose copy was cut off: without it, every clip would lack the logo."""
    page = visitor.page
    visitor.show("brand")
    page.fill("#brand-name", "Red")
    empty = FilePayload(name="logo.png", mimeType="image/png", buffer=b"")
    page.set_input_files(f"#brand-{name}", empty)
    page.get_by_role("button", name="Make the brand").click()
    expect(page.locator(f"#brand-{name}-error")).to_have_text("The file is empty.")
    assert visitor.context.request.get(f"{visitor.base_url}/brands").json() == []


def test_too_many_links_are_not_sent_by_keys_either(visitor: Visitor) -> None:
    """The shortcut needs no button, which is disabled; the answer was about wrong links."""
    page = visitor.page
    page.fill("#links", "\n".join(f"http://127.0.0.1:9/{n}.mp4" for n in range(501)))
    page.get_by_text("500 links at most.").wait_for()
    posts: list[str] = []
    page.on("request", lambda sent: posts.append(sent.url) if sent.method == "POST" else None)
    page.locator("#links").press("Control+Enter")
    page.wait_for_timeout(300)
    expect(page.locator("form > .failure")).to_have_count(0)
    assert posts == []


def test_too_many_moments_are_named(visitor: Visitor, system: RunningSystem) -> None:
    """Also in the plan of a video of three hours: one changed line was "Too long."."""
    page = visitor.page
    page.fill("#links", "http://127.0.0.1:9/race.mp4")
    _open_options(page)
    page.fill("#segments", "0:01 - 0:02\n" * 501)
    page.locator("form button.primary").click()
    expect(page.locator("#segments-error")).to_have_text("500 lines at most.")
    task_id = system.add_long_task(visitor.email, 501)
    system.execute(f"UPDATE tasks SET status = 'planned' WHERE id = '{task_id}'")
    visitor.show(f"task/{task_id}")
    page.get_by_text("Change where clips begin and end").click()
    page.get_by_role("button", name="Plan again").click()
    expect(page.locator("#plan-error")).to_have_text("500 lines at most.")


def test_chosen_brand_that_was_deleted_is_shown_as_such(visitor: Visitor) -> None:
    """The default was shown as the choice, and could not be chosen: it was already."""
    page, request = visitor.page, visitor.context.request
    address = f"{visitor.base_url}/brands"
    headers = {"Sec-Fetch-Site": "same-origin"}
    brand = request.post(address, multipart={"name": "Red"}, headers=headers).json()
    visitor.show("brand")
    visitor.show("new")
    _open_options(page)
    page.select_option("#brand_id", label="Red")
    assert request.delete(f"{address}/{brand['brand_id']}", headers=headers).ok
    visitor.show("brand")
    visitor.show("new")
    expect(page.locator("#brand_id option:checked")).to_have_text("A deleted brand")
    page.fill("#links", "http://127.0.0.1:9/race.mp4")
    page.locator("form button.primary").click()
    expect(page.locator("#brand_id-error")).to_have_text("This account has no such brand.")
    expect(page.locator("#brand_id")).to_be_focused()
    page.select_option("#brand_id", label="None")
    page.locator("form button.primary").click()
    page.wait_for_url("**/#/task/*")


def test_files_of_a_brand_that_are_too_large_are_not_sent(visitor: Visitor, tmp_path: Path) -> None:
    """They were, to be answered by "Send less, in several steps.", which no brand allows."""
    page = visitor.page
    posts: list[str] = []
    page.on("request", lambda sent: posts.append(sent.url) if sent.method == "POST" else None)
    visitor.show("brand")
    page.fill("#brand-name", "Red")
    for name, size_mib in (("before", 20), ("after", 13)):
        with (tmp_path / f"{name}.mp4").open("wb") as file:
            file.truncate(size_mib * 1024 * 1024)
        page.set_input_files(f"#brand-{name}", tmp_path / f"{name}.mp4")
    page.get_by_role("button", name="Make the brand").click()
    expect(page.locator("form > .failure")).to_have_text(
        "The files of a brand may have 32 MiB together."
    )
    assert posts == []
