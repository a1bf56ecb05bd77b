"""The whole way of a video: posted, watched, downloaded part by part meanwhile, removed."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blackbox.client import FINISHED, Api, Task
from blackbox.clips import Clip, decode_clip, frames_of, loudness
from numpy.typing import NDArray

from idrl_testing import samples, site as web_site

RATE, PART_S, LOGO_S, LENGTH_S = 25, 20, 1, 45
PARTS = [(0, 20), (20, 40), (40, 45)]


@dataclass
class Journey:
    """What was seen on the way: every answer, and each clip as soon as it was `done`."""

    api: Api
    source: bytes
    seen: list[Task] = field(default_factory=list)
    clips: dict[int, bytes] = field(default_factory=dict)
    statuses: set[tuple[str, int]] = field(default_factory=set)

    @property
    def last(self) -> Task:
        return self.seen[-1]

    def record(self, task: Task) -> bool:
        """Record the answer, try every part, and return whether this is the end."""
        self.seen.append(task)
        for part in task["parts"]:
            self._try(part)
        return task["status"] in FINISHED

    def _try(self, part: dict[str, Any]) -> None:
        if part["number"] in self.clips:
            return
        response = self.api.download(part)
        self.statuses.add((part["status"], response.status_code))
        if response.status_code == 200:
            self.clips[part["number"]] = response.content


@pytest.fixture(scope="module")
def journey(api: Api, site: web_site.Site, tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """A video of 45 s on its way through the system."""
    target = tmp_path_factory.mktemp("journey") / "source.mp4"
    made = samples.encode(
        target, *samples.picture("320x180", LENGTH_S, RATE), *samples.tone(LENGTH_S), *samples.FAST
    )
    journey = Journey(api, made)
    task = api.submit(site.add("journey.mp4", made))
    api.wait_for(task["task_id"], journey.record)
    return journey


@pytest.fixture(scope="module")
def clips(journey: Journey) -> list[Clip]:
    """The clips, decoded."""
    return [decode_clip(journey.clips[number]) for number in sorted(journey.clips)]


@pytest.fixture
def part(journey: Journey) -> dict[str, Any]:
    """One finished part."""
    part: dict[str, Any] = journey.last["parts"][2]
    return part


def test_task_is_done(journey: Journey) -> None:
    task = journey.last
    assert task["status"] == "done", task["error"]
    assert (task["progress"], task["parts_total"], task["parts_done"]) == (100, 3, 3)
    assert task["error"] is None
    assert task["created_at"] <= task["started_at"] <= task["finished_at"]


def test_source_was_measured(journey: Journey) -> None:
    source = journey.last["source"]
    assert source["size_bytes"] == len(journey.source)
    assert source["duration_s"] == pytest.approx(LENGTH_S, abs=0.1)
    assert (source["width"], source["height"], source["frame_rate"]) == (320, 180, RATE)
    assert (source["video_codec"], source["audio_codec"]) == ("h264", "aac")


def test_statuses_come_in_order(journey: Journey) -> None:
    order = ["queued", "downloading", "processing", "done"]
    ranks = [order.index(task["status"]) for task in journey.seen]
    assert ranks == sorted(ranks)


def test_progress_never_goes_back(journey: Journey) -> None:
    progress = [task["progress"] for task in journey.seen]
    assert progress == sorted(progress)
    assert all(task["progress"] < 100 for task in journey.seen if task["status"] != "done")


def test_progress_of_each_part_never_goes_back(journey: Journey) -> None:
    for number in range(len(PARTS)):
        progress = [task["parts"][number]["progress"] for task in journey.seen if task["parts"]]
        assert progress == sorted(progress)
        assert progress[-1] == 100


def test_clips_can_be_had_as_soon_as_they_are_done(journey: Journey) -> None:
    assert sorted(journey.clips) == [0, 1, 2]
    # One that was still being made when it was shown may be done when it is requested; never the
    # other way round.
    assert journey.statuses <= {
        ("waiting", 409),
        ("rendering", 409),
        ("waiting", 200),
        ("rendering", 200),
        ("done", 200),
    }


def test_parts_cover_the_source(journey: Journey) -> None:
    parts = journey.last["parts"]
    assert [part["number"] for part in parts] == [0, 1, 2]
    assert [(part["start_s"], part["end_s"]) for part in parts] == [
        pytest.approx(each, abs=0.05) for each in PARTS
    ]
    assert all(before["end_s"] == after["start_s"] for before, after in pairwise(parts))


def test_parts_match_the_downloaded_clips(journey: Journey, clips: list[Clip]) -> None:
    for part, clip in zip(journey.last["parts"], clips, strict=True):
        data = journey.clips[part["number"]]
        assert part["size_bytes"] == len(data)
        assert part["sha256"] == hashlib.sha256(data).hexdigest()
        assert part["frames"] == len(clip.frames)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_format_of_the_clip(clips: list[Clip], number: int) -> None:
    clip = clips[number]
    assert (clip.video_codec, clip.profile, clip.pix_fmt) == ("h264", "High", "yuv420p")
    assert (clip.width, clip.height) == (320, 180)
    assert clip.sample_aspect == 1
    assert clip.frame_rate == RATE
    assert (clip.audio_codec, clip.sample_rate_hz, clip.channels) == ("aac", 48000, 2)
    assert clip.duration_s <= PART_S + 2 * LOGO_S + 0.1
    assert abs(clip.video_s - clip.audio_s) <= 0.05
    assert clip.is_faststart


@pytest.mark.parametrize("number", [0, 1, 2])
def test_logo_before_and_after(clips: list[Clip], number: int) -> None:
    clip, logo_frames = clips[number], LOGO_S * RATE
    for still in (clip.frames[: logo_frames - 1], clip.frames[1 - logo_frames :]):
        assert difference(still, still[:1]).max() < 2
        assert still[0].std() > 0
    assert loudness(clip, 0, LOGO_S - 0.1) < 0.01
    assert loudness(clip, LOGO_S + 0.1, LOGO_S + 0.3) > 0.05
    assert loudness(clip, clip.duration_s - LOGO_S + 0.1, clip.duration_s) < 0.01


def test_no_frame_is_lost_and_none_comes_twice(journey: Journey, clips: list[Clip]) -> None:
    source = frames_of(journey.source)
    content = np.concatenate([clip.frames[LOGO_S * RATE : -LOGO_S * RATE] for clip in clips])
    assert len(content) == len(source) == LENGTH_S * RATE
    own = difference(content, source)
    assert own.max() < 12
    assert (own[1:] < difference(content[1:], source[:-1])).all()
    assert (own[:-1] < difference(content[:-1], source[1:])).all()


def difference(some: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the mean difference of each frame from its counterpart, 0 to 255."""
    distance: NDArray[np.float64] = np.abs(some.astype(np.int16) - others).mean(axis=(1, 2))
    return distance


def test_headers_of_a_clip(api: Api, part: dict[str, Any]) -> None:
    response = api.download(part)
    assert response.headers["Content-Length"] == str(part["size_bytes"])
    assert response.headers["ETag"] == f'"{part["sha256"]}"'
    assert ".mp4" in response.headers["Content-Disposition"]
    assert "private" in response.headers["Cache-Control"]


def test_head_of_a_clip(api: Api, part: dict[str, Any]) -> None:
    response = api.call("HEAD", part["link"])
    assert response.status_code == 200
    assert response.headers["Content-Length"] == str(part["size_bytes"])
    assert response.headers["Content-Type"] == "video/mp4"


@pytest.mark.parametrize(
    ("range_header", "wanted"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=100-199", slice(100, 200)),
        ("bytes=-50", slice(-50, None)),
    ],
)
def test_range_of_a_clip(
    api: Api, journey: Journey, part: dict[str, Any], range_header: str, wanted: slice
) -> None:
    response = api.download(part, Range=range_header)
    assert response.status_code == 206
    assert response.content == journey.clips[2][wanted]
    start, end, _ = wanted.indices(part["size_bytes"])
    assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/{part['size_bytes']}"


def test_range_beyond_the_end(api: Api, part: dict[str, Any]) -> None:
    response = api.download(part, Range=f"bytes={part['size_bytes']}-")
    assert (response.status_code, response.json()["code"]) == (416, "range_not_satisfiable")
    assert response.headers["Content-Range"] == f"bytes */{part['size_bytes']}"


def test_if_none_match_of_a_clip(api: Api, part: dict[str, Any]) -> None:
    assert api.download(part, **{"If-None-Match": f'"{part["sha256"]}"'}).status_code == 304
    assert api.download(part, **{"If-None-Match": '"another"'}).status_code == 200


def test_if_match_of_a_clip(api: Api, part: dict[str, Any]) -> None:
    assert api.download(part, **{"If-Match": f'"{part["sha256"]}"'}).status_code == 200
    response = api.download(part, **{"If-Match": '"another"'})
    assert (response.status_code, response.json()["code"]) == (412, "precondition_failed")


def test_range_of_a_clip_that_changed(api: Api, part: dict[str, Any]) -> None:
    same = api.download(part, Range="bytes=0-9", **{"If-Range": f'"{part["sha256"]}"'})
    assert same.status_code == 206
    changed = api.download(part, Range="bytes=0-9", **{"If-Range": '"another"'})
    assert (changed.status_code, len(changed.content)) == (200, part["size_bytes"])


@pytest.mark.parametrize("number", ["3", "999999999999", "00000000000000000003"])
def test_unknown_part_is_404(api: Api, journey: Journey, number: str) -> None:
    response = api.get(f"{journey.last['link']}/parts/{number}")
    assert (response.status_code, response.json()["code"]) == (404, "part_not_found")


@pytest.mark.parametrize("number", ["abc", "-1", "1.5", "%2e%2e"])
def test_malformed_part_number_is_404(api: Api, journey: Journey, number: str) -> None:
    response = api.get(f"{journey.last['link']}/parts/{number}")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_clip_of_another_owner_is_404(sign_up: Callable[[], Api], part: dict[str, Any]) -> None:
    response = sign_up().download(part)
    assert (response.status_code, response.json()["code"]) == (404, "task_not_found")


def test_repeated_downloads_of_a_clip_are_the_same(
    api: Api, journey: Journey, sign_up: Callable[[], Api], part: dict[str, Any]
) -> None:
    """Caches on the way change neither the clip nor who may have it."""
    first, *others = [api.download(part) for _ in range(4)]
    for each in others:
        assert each.content == first.content == journey.clips[2]
        for name in (
            "Content-Type",
            "Content-Disposition",
            "ETag",
            "Last-Modified",
            "Cache-Control",
            "Accept-Ranges",
        ):
            assert each.headers[name] == first.headers[name]
        assert each.headers["X-Request-Id"] != first.headers["X-Request-Id"]
    middle = api.download(part, Range="bytes=100-199")
    assert (middle.status_code, middle.content) == (206, first.content[100:200])
    assert api.download(part, **{"If-None-Match": first.headers["ETag"]}).status_code == 304
    assert api.download(part, Range=f"bytes={part['size_bytes']}-").status_code == 416
    assert api.download(part, **{"If-Match": '"another"'}).status_code == 412
    other = sign_up().download(part)
    assert (other.status_code, other.json()["code"]) == (404, "task_not_found")


def test_download_without_a_token_is_refused(anonymous: Api, part: dict[str, Any]) -> None:
    assert anonymous.download(part).status_code == 401


def test_list_shows_tasks_without_parts(api: Api, journey: Journey) -> None:
    listed = [
        task
        for task in api.get("/tasks?max=1000").json()
        if task["task_id"] == journey.last["task_id"]
    ]
    assert listed == [
        {name: value for name, value in journey.last.items() if name not in {"parts", "edit"}}
    ]


def test_video_without_sound_gets_silence(api: Api, site: web_site.Site, tmp_path: Path) -> None:
    silent = samples.encode(tmp_path / "silent.mkv", *samples.picture("240x320", 3), *samples.FAST)
    # The name of the URL decides nothing.
    task = api.finish(api.submit(site.add("silent.txt", silent))["task_id"])
    assert task["status"] == "done", task["error"]
    assert task["source"]["audio_codec"] is None
    clip = decode_clip(api.download(task["parts"][0]).content)
    assert clip.width * 9 == clip.height * 16
    assert len(clip.frames) == (3 + 2 * LOGO_S) * RATE
    assert loudness(clip, 0, clip.duration_s) < 0.01
    assert abs(clip.video_s - clip.audio_s) <= 0.05
