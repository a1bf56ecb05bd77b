"""Where parts end, and tasks that wait with their plan; each frame has its number in it."""

import numpy as np
import pytest
from blackbox.client import Api, Task
from blackbox.clips import decode_clip

from idrl_testing import samples
from idrl_testing.numbered import number_in, picture
from idrl_testing.site import Site

FRAMES, WIDTH, HEIGHT = 250, 640, 360
SHOTS = (90, 171)  # the first frames of the second and the third shot
KEYS_S = "3.52,7.2"
QUIET_S = ((3.2, 3.6), (6.9, 7.3))
TAGS = [
    word
    for name in ("colorspace", "color_primaries", "color_trc")
    for word in (f"-{name}", "bt709")
]


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Ten seconds of numbered frames in three shots, with a tone that is silent twice."""
    raw = b"".join(_frame(number).tobytes() for number in range(FRAMES))
    off = "+".join(f"between(t,{start},{end})" for start, end in QUIET_S)
    options = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "12", "-pix_fmt", "yuv420p"]
    keys = ["-force_key_frames", KEYS_S, "-g", "1000", "-sc_threshold", "0", "-bf", "2"]
    target = tmp_path_factory.mktemp("cuts") / "source.mp4"
    samples.run_ffmpeg(
        *f"-f rawvideo -pix_fmt gray -s {WIDTH}x{HEIGHT} -framerate 25 -i pipe:0".split(),
        *["-f", "lavfi", "-i", f"sine=f=440:d=10,volume=0:enable='{off}'"],
        *[*options, *keys, *TAGS, "-color_range", "tv", "-c:a", "aac"],
        target,
        stdin=raw,
    )
    return target.read_bytes()


def _frame(number: int) -> np.ndarray:
    shown = picture(number, WIDTH, HEIGHT)
    shot = sum(number >= first for first in SHOTS)
    shown[: HEIGHT // 4] = shown[HEIGHT * 3 // 4 :] = (60, 200, 20)[shot]
    return shown


def _numbers(api: Api, task: Task) -> list[list[int]]:
    """Return the numbers in the frames of each part, without the logo before and after."""
    numbers = []
    for part in task["parts"]:
        frames = decode_clip(api.download(part).content).frames
        length = round((part["end_s"] - part["start_s"]) * 25)
        bumper = (len(frames) - length) // 2
        numbers.append([number_in(frame) for frame in frames[bumper : bumper + length]])
    return numbers


@pytest.mark.parametrize(
    ("cut", "ends"),
    [
        ("exact", [100, 200, 250]),
        ("keyframe", [88, 180, 250]),
        ("scene", [90, 171, 250]),
        ("silence", [85, 178, 250]),
    ],
)
def test_each_frame_is_in_one_part(
    api: Api, site: Site, numbered: bytes, cut: str, ends: list[int]
) -> None:
    edit = {"cut": cut, "part_seconds": 4, "quality": "fast"}
    created = api.post("/tasks", {"url": site.add(f"{cut}.mp4", numbered), "edit": edit})
    task = api.finish(created.json()["task_id"])
    assert task["status"] == "done", task["error"]
    numbers = _numbers(api, task)
    assert [number for part in numbers for number in part] == list(range(FRAMES))
    assert [part[-1] + 1 for part in numbers] == pytest.approx(ends, abs=1 + (cut == "silence"))
    assert all(part["end_s"] - part["start_s"] <= 4 for part in task["parts"])
    if cut == "keyframe":
        assert {part["rendered_by"] for part in task["parts"]} == {"copy"}


def test_plan_is_seen_changed_and_begun(api: Api, site: Site, numbered: bytes) -> None:
    body = {"url": site.add("plan.mp4", numbered), "start": "manual", "edit": {"part_seconds": 4}}
    created = api.post("/tasks", body)
    assert (created.status_code, created.json()["start"]) == (202, "manual")
    link, task_id = created.json()["link"], created.json()["task_id"]
    plan = api.wait_for(task_id, lambda task: task["status"] == "planned")
    assert [part["end_s"] for part in plan["parts"]] == [4, 8, 10]
    change = {"cut": "scene", "segments": [{"start_s": 2, "end_s": 8, "name": "Lap 2"}]}
    changed = api.call("PATCH", link, json={"edit": change})
    assert changed.status_code == 200
    plan = api.wait_for(task_id, lambda task: task["status"] == "planned")
    # From 127 to 128 eight binary digits of the frame's number change: the clearest change.
    assert [part["start_s"] for part in plan["parts"]] == [2, 5.12]
    change = {"segments": [{"start_s": 30, "end_s": 31}]}
    refused = api.call("PATCH", link, json={"edit": change})
    assert refused.json()["errors"][0]["code"] == "edit_beyond_end"
    assert api.post(f"{link}/start", {}).status_code == 202
    assert api.post(f"{link}/start", {}).status_code == 202
    task = api.finish(created.json()["task_id"])
    assert (task["status"], task["attempt"]) == ("done", 2)
    assert [number for part in _numbers(api, task) for number in part] == list(range(50, 200))
    assert site.hits["/plan.mp4"] == 1


def test_planned_task_is_aborted(api: Api, site: Site, short_video: bytes) -> None:
    body = {"url": site.add("abort.mp4", short_video), "start": "manual"}
    task_id = api.post("/tasks", body).json()["task_id"]
    api.wait_for(task_id, lambda task: task["status"] == "planned")
    assert api.delete(f"/tasks/{task_id}").status_code == 202
    task = api.wait_for(task_id, lambda task: task["status"] == "canceled")
    assert (task["parts"], task["freed_bytes"] > 0) == ([], True)
