"""What a caller asks to be made of a video, through the whole system."""

from pathlib import Path

from blackbox.client import Api
from blackbox.clips import decode_clip

from idrl_testing import samples
from idrl_testing.site import Site


def test_segments_in_another_shape(api: Api, site: Site, tmp_path: Path) -> None:
    made = samples.encode(
        tmp_path / "source.mp4", *samples.picture("320x180", 8), *samples.tone(8), *samples.FAST
    )
    segments = [
        {"start_s": 4.4, "end_s": 7.6, "name": "Ende é"},
        {"start_s": 0, "end_s": 1.5, "name": None},
    ]
    edit = {"segments": segments, "part_seconds": 2, "aspect": "9:16", "fit": "blur"}
    created = api.post("/tasks", {"url": site.add("edited.mp4", made), "edit": edit})
    assert created.status_code == 202
    assert created.json()["edit"] | edit == created.json()["edit"]
    task = api.finish(created.json()["task_id"])
    assert task["status"] == "done", task["error"]
    parts = task["parts"]
    assert [(part["start_s"], part["end_s"]) for part in parts] == [
        (4.4, 6.4),
        (6.4, 7.6),
        (0, 1.52),  # to the end of the frame that begins before 1.5 s
    ]
    assert [part["name"] for part in parts] == ["Ende é", "Ende é", None]
    clip = decode_clip(api.download(parts[2]).content)
    assert (clip.width, clip.height) == (306, 544)
    assert len(clip.frames) == parts[2]["frames"] == 25 + 38 + 25


def test_segment_after_the_end_fails_the_task(api: Api, site: Site, short_video: bytes) -> None:
    edit = {"segments": [{"start_s": 5000, "end_s": 5001}]}
    created = api.post("/tasks", {"url": site.add("short.mp4", short_video), "edit": edit})
    task = api.finish(created.json()["task_id"])
    assert (task["status"], task["parts"]) == ("failed", [])
    assert task["error"]["code"] == "edit_beyond_end"


def test_500_segments_pass_the_gateway(api: Api, site: Site, short_video: bytes) -> None:
    segments = [{"start_s": n, "end_s": n + 1.5, "name": "é" * 60} for n in range(500)]
    created = api.post(
        "/tasks", {"url": site.add("many.mp4", short_video), "edit": {"segments": segments}}
    )
    assert created.status_code == 202
    assert created.json()["edit"]["segments"] == segments
    api.delete(created.json()["link"])
