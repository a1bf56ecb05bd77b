"""Brands through the whole system: what callers see and hear in the clips."""

import io
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import requests
from blackbox.client import Api, Task
from blackbox.clips import SOUND_HZ, decode_clip
from numpy.typing import NDArray
from PIL import Image

from idrl_testing import samples
from idrl_testing.numbered import number_in, pictures
from idrl_testing.site import Site

FRAMES, RATE = 75, 25
WIDTH, HEIGHT = 640, 360
RED, GREEN, BACKGROUND = (220, 30, 30), (20, 160, 60), (32, 64, 96)
CONTENT_HZ, INTRO_HZ = 440, 1500
BUSY_S = 240
TAGS = [
    word
    for name in ("colorspace", "color_primaries", "color_trc")
    for word in (f"-{name}", "bt709")
]
H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "12", "-pix_fmt", "yuv420p", *TAGS]


def _video(target: Path, first: int, frames: int, rate: int, tone_hz: int) -> bytes:
    """Return a video whose frame k shows the number first + k, with a tone."""
    raw = pictures(range(first, first + frames), WIDTH, HEIGHT)
    read = f"-f rawvideo -pix_fmt gray -s {WIDTH}x{HEIGHT} -framerate {rate} -i pipe:0"
    tone = ["-f", "lavfi", "-i", f"sine=f={tone_hz}:d={frames / rate}"]
    samples.run_ffmpeg(*read.split(), *tone, *H264, "-c:a", "aac", target, stdin=raw)
    return target.read_bytes()


def _image(size: tuple[int, int], colour: tuple[int, ...]) -> bytes:
    target = io.BytesIO()
    Image.new("RGBA" if len(colour) == 4 else "RGB", size, colour).save(target, "PNG")
    return target.getvalue()


def _post(caller: Api, name: str, files: dict[str, bytes], **fields: str) -> requests.Response:
    """Post the form, again while the machine is busy; a slow one is for minutes."""
    deadline = time.monotonic() + BUSY_S
    while True:
        response = caller.call("POST", "/brands", data={"name": name, **fields}, files=files)
        is_busy = response.status_code == 503 and response.json()["code"] == "brands_busy"
        if not is_busy or time.monotonic() > deadline:
            return response
        time.sleep(int(response.headers["Retry-After"]))


def _new_brand(api: Api, files: dict[str, bytes], **fields: str) -> dict[str, Any]:
    response = _post(api, "Race", files, **fields)
    assert response.status_code == 201, response.text
    brand: dict[str, Any] = response.json()
    return brand


def _make_clip(api: Api, url: str, edit: dict[str, object]) -> tuple[Task, bytes]:
    created = api.post("/tasks", {"url": url, "edit": edit})
    assert created.status_code == 202
    task = api.finish(created.json()["task_id"])
    assert task["status"] == "done", task["error"]
    return task, api.download(task["parts"][0]).content


def _rgb_frames(data: bytes) -> list[NDArray[np.uint8]]:
    with av.open(io.BytesIO(data), "r") as container:
        return [
            np.asarray(frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray())
            for frame in container.decode(video=0)
        ]


def _numbers(frames: list[NDArray[np.uint8]]) -> list[int]:
    return [number_in(np.asarray(frame.mean(axis=2), np.uint8)) for frame in frames]


def _has_colour(area: NDArray[np.uint8], colour: tuple[int, ...]) -> bool:
    return bool(np.abs(area.astype(int) - np.array(colour)).max() <= 16)


def _tone(data: bytes, at_s: float) -> float:
    """Return the strongest frequency of a fifth of a second of the clip."""
    sound = decode_clip(data).sound[int(at_s * SOUND_HZ) : int((at_s + 0.2) * SOUND_HZ)]
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(np.argmax(power)) * SOUND_HZ / len(sound)


@pytest.fixture(scope="module")
def source(site: Site, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("brands")
    return site.add("race.mp4", _video(folder / "race.mp4", 0, FRAMES, RATE, CONTENT_HZ))


@pytest.mark.parametrize(("aspect", "size"), [("16:9", (640, 360)), ("1:1", (640, 640))])
def test_pictures_and_watermark_in_two_shapes(
    aspect: str, size: tuple[int, int], api: Api, source: str
) -> None:
    files = {"before": _image((640, 640), RED), "watermark": _image((100, 50), (*GREEN, 255))}
    options = {"watermark_place": "top", "watermark_width": "0.1", "before_s": "0.4"}
    brand = _new_brand(api, files, background="#204060", **options)
    edit = {"aspect": aspect, "fit": "pad", "brand_id": brand["brand_id"]}
    task, clip = _make_clip(api, source, edit)
    assert task["edit"]["brand_id"] == brand["brand_id"]
    assert task["parts"][0]["rendered_by"] == "encode"
    frames, (width, height) = _rgb_frames(clip), size
    assert frames[0].shape == (height, width, 3)
    assert len(frames) == 10 + FRAMES
    middle, side = width // 2, height // 2
    for frame in frames[:10]:
        assert _has_colour(frame[8:-8, middle - side + 8 : middle + side - 8], RED)
    top = (height - 360) // 2
    content = [frame[top : top + 360] for frame in frames[10:]]
    assert _numbers(content) == list(range(FRAMES))
    margin = round(min(size) / 40 / 2) * 2
    for frame in frames[10:]:  # 64 x 32 pixels, in the middle of the upper edge
        assert _has_colour(frame[margin + 4 : margin + 28, middle - 28 : middle + 28], GREEN)
        assert not _has_colour(frame[margin + 40 : margin + 50, middle - 28 : middle + 28], GREEN)
    if aspect == "1:1":
        assert _has_colour(frames[5 + 10][margin + 40 : top - 8], BACKGROUND)
        assert _has_colour(frames[-1][top + 368 : -4], BACKGROUND)


def test_video_with_sound_before_and_a_deleted_brand(api: Api, source: str, tmp_path: Path) -> None:
    intro = _video(tmp_path / "intro.mp4", 500, 30, 30, INTRO_HZ)
    brand = _new_brand(api, {"before": intro, "after": _image((16, 9), RED)})
    shown = {"kind": "video", "duration_s": 1, "width": WIDTH, "height": HEIGHT}
    assert brand["before"] == shown
    assert api.get(f"{brand['link']}/preview.jpg?aspect=9:16").content.startswith(b"\xff\xd8")
    assert brand in api.get("/brands").json()
    choice = {"brand_id": brand["brand_id"]}
    assert api.call("PUT", "/brands/default", json=choice).json() == choice
    created = api.post("/tasks", {"url": source}).json()
    assert api.delete(brand["link"]).status_code == 204
    assert api.get(brand["link"]).json()["code"] == "brand_not_found"
    assert api.get("/brands/default").json() == {"brand_id": "built-in"}
    task = api.finish(created["task_id"])
    assert (task["status"], task["edit"]["brand_id"]) == ("done", brand["brand_id"])
    clip = api.download(task["parts"][0]).content
    frames = _rgb_frames(clip)
    assert len(frames) == RATE + FRAMES + RATE
    assert _numbers(frames[RATE:-RATE]) == list(range(FRAMES))
    intro_numbers = _numbers(frames[:RATE])
    assert all(abs(n - 500 - k * 30 / 25) <= 1 for k, n in enumerate(intro_numbers))
    assert all(_has_colour(frame[8:-8, 8:-8], RED) for frame in frames[-RATE:])
    assert [_tone(clip, at_s) for at_s in (0.1, 0.75)] == pytest.approx([INTRO_HZ] * 2, abs=20)
    assert [_tone(clip, at_s) for at_s in (1.1, 3.7)] == pytest.approx([CONTENT_HZ] * 2, abs=20)
    after = decode_clip(clip).sound[int(4.1 * SOUND_HZ) :]
    assert float(np.abs(after).max()) < 0.01


def test_form_size_limits(api: Api, anonymous: Api) -> None:
    start = _image((8, 8), RED)[:40]

    def sent(caller: Api, size_mib: int) -> tuple[int, str]:
        files = {"before": start + bytes(size_mib * 1024**2)}
        response = _post(caller, "Large", files)
        return response.status_code, response.json()["code"]

    assert sent(api, 31) == (422, "brand_file_broken")
    assert sent(api, 34) == (413, "body_too_large")
    assert sent(anonymous, 1) == (401, "token_missing")
    svg = {"after": b'<svg xmlns="http://www.w3.org/2000/svg"/>'}
    response = _post(api, "SVG", svg)
    assert response.json()["errors"][0] == {
        "field": "after",
        "code": "brand_file_unsupported",
        "message": response.json()["detail"],
    }
