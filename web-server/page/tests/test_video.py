"""What `<video>` shows: each moment's frame, of the first clip before the others are made."""

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import WORK_LIMIT_MS, Visitor
from playwright.sync_api import expect
from running_system import RunningSystem

from idrl_testing import numbered, site
from idrl_testing.samples import FAST, encode, run_ffmpeg, tone

WIDTH, HEIGHT, RATE = 640, 360, 25
PART_S, PARTS = 4, 3
# The middle of a frame's time, so that no rounding chooses its neighbour.
PLACES_S = [0.02, 1.5, 3.94]
# The browser may say `seeked` before it shows the new frame; what it shows has a time of its own.
SEEK = """([video, seconds, frameS]) => new Promise(done => {
  const draw = () => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext('2d').drawImage(video, 0, 0);
    done(canvas.toDataURL('image/png').split(',')[1]);
  };
  const shown = (_, {mediaTime}) => {
    if (mediaTime <= seconds && seconds < mediaTime + frameS) draw();
    else video.requestVideoFrameCallback(shown);
  };
  const seek = () => {
    video.pause();
    video.requestVideoFrameCallback(shown);
    video.addEventListener('seeked', () => setTimeout(draw, 20_000), {once: true});
    video.currentTime = seconds;
  };
  if (video.readyState >= HTMLMediaElement.HAVE_METADATA) seek();
  else video.addEventListener('loadedmetadata', seek, {once: true});
})"""


@pytest.fixture
def numbered_url(tmp_path: Path) -> Iterator[str]:
    """The address of a video in which each frame shows its number."""
    frames = numbered.pictures(range(RATE * PART_S * PARTS), WIDTH, HEIGHT)
    raw = tmp_path / "frames.gray"
    raw.write_bytes(frames)
    picture = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(RATE)]
    arguments = [*picture, "-i", str(raw), *tone(PART_S * PARTS), *FAST, "-shortest"]
    with site.serve() as running:
        yield running.add("numbered.mp4", encode(tmp_path / "numbered.mp4", *arguments))


def _number_shown(visitor: Visitor, seconds: float, folder: Path) -> int:
    """Seek, and read the number in the picture that the browser draws then."""
    video = visitor.page.locator("video").element_handle()
    (folder / "shown.png").write_bytes(
        base64.b64decode(visitor.page.evaluate(SEEK, [video, seconds, 1 / RATE]))
    )
    size = ["-s", f"{WIDTH}x{HEIGHT}", "-pix_fmt", "gray", "-f", "rawvideo"]
    run_ffmpeg("-i", folder / "shown.png", *size, folder / "shown.gray")
    shown = np.frombuffer((folder / "shown.gray").read_bytes(), np.uint8)
    return numbered.number_in(shown.reshape(HEIGHT, WIDTH))


def _start_parts(system: RunningSystem, task_id: str, which: str) -> None:
    """Start a planned task, but let workers take only some of its parts."""
    system.execute(
        "UPDATE tasks SET status = 'processing', start_requested_at = now(), planned_at = NULL"
        f" WHERE id = '{task_id}'; UPDATE parts SET run_after = now()"
        f" WHERE task_id = '{task_id}' AND {which}"
    )


def test_frames_of_clips(
    visitor: Visitor, system: RunningSystem, numbered_url: str, tmp_path: Path
) -> None:
    page = visitor.page
    visitor.open("brand")
    with page.expect_response(lambda answer: answer.request.method == "PUT"):
        page.get_by_label("None", exact=True).check(force=True)  # no picture before the first frame
    visitor.open("new")
    page.locator(".options-box summary").click()
    page.get_by_label("Show me the plan first").check(force=True)
    page.fill("#part_seconds", str(PART_S))
    page.fill("#links", numbered_url)
    page.locator("form button.primary").click()
    page.wait_for_url("**/#/task/*")
    page.get_by_role("button", name="Make the clips").wait_for()
    task_id = page.url.rpartition("/")[2]
    _start_parts(system, task_id, "number = 0")
    page.wait_for_selector(".card.done", timeout=WORK_LIMIT_MS)
    page.locator(".card.done .picture").click()
    visitor.wait_true("document.querySelector('video')?.currentTime > 0")
    expect(page.locator(".card.done")).to_have_count(1)
    numbers = [_number_shown(visitor, seconds, tmp_path) for seconds in PLACES_S]
    assert numbers == [int(seconds * RATE) for seconds in PLACES_S]
    page.keyboard.press("Escape")
    _start_parts(system, task_id, "number > 0")
    visitor.wait_done()
    page.locator(".card .picture").nth(1).click()
    page.wait_for_selector("video")
    numbers = [_number_shown(visitor, seconds, tmp_path) for seconds in PLACES_S]
    assert numbers == [PART_S * RATE + int(seconds * RATE) for seconds in PLACES_S]
    page.get_by_role("button", name="Next").click()
    page.wait_for_selector(f"video[src*='/parts/{PARTS - 1}']")
    numbers = [_number_shown(visitor, seconds, tmp_path) for seconds in PLACES_S]
    assert numbers == [(PARTS - 1) * PART_S * RATE + int(seconds * RATE) for seconds in PLACES_S]
    assert visitor.console_errors == []


def test_list_has_a_picture_once_the_first_clip_is_done(
    visitor: Visitor, system: RunningSystem, video_url: str
) -> None:
    page = visitor.page
    page.fill("#links", video_url)
    page.locator(".options-box summary").click()
    page.get_by_label("Show me the plan first").check(force=True)
    page.fill("#part_seconds", "2")
    page.locator("form button.primary").click()
    page.get_by_role("button", name="Make the clips").wait_for()
    task_id = page.url.rpartition("/")[2]
    _start_parts(system, task_id, "number = 1")
    with page.expect_response("**/parts/0/poster.jpg", timeout=WORK_LIMIT_MS) as response:
        visitor.open("tasks")
    assert response.value.status == 409
    _start_parts(system, task_id, "number <> 1")
    visitor.wait_true("document.querySelector('.row .poster img')?.naturalWidth > 0")
    assert [line for line in visitor.console_errors if "409" not in line] == []
