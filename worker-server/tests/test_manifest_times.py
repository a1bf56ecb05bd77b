"""What a manifest says of each clip's place in its source is what the clip's frames show."""

import io
import json
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from flask.testing import FlaskClient

from idrl_testing.numbered import number_in, pictures
from worker_server.jobs.fetch import fetch_next
from worker_server.jobs.render import render_next
from worker_server.jobs.runtime import Runtime
from worker_server.settings import Settings

Auth = Callable[..., dict[str, str]]
FRAMES, BUMPER_S = 150, 1
H264 = "-c:v libx264 -preset ultrafast -crf 12 -bf 2 -g 20 -sc_threshold 0"
SEGMENTS = [
    {"start_s": 1.235, "end_s": 1.902, "name": "later"},
    {"start_s": 0, "end_s": 2.236},
    {"start_s": 1.902, "end_s": 99},
]
# Of a kind of source its rate, its encoding, and what is made of it.
SOURCES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ntsc.mp4": (
        "30000/1001",
        f"{H264} -x264-params open-gop=1",
        {"segments": SEGMENTS, "part_seconds": 2},
    ),
    "fast.ts": ("60000/1001", H264, {"cut": "keyframe", "part_seconds": 2, "start_s": 0.3}),
    "disc.mpg": (
        "25",
        "-c:v mpeg2video -q:v 2 -bf 2 -g 15 -c:a mp2",
        {"cut": "silence", "part_seconds": 2.1},
    ),
}


@pytest.fixture(scope="module")
def numbered(
    site_folder: Path, ffmpeg: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], str]:
    """Make a source whose frame k shows the number k; return its name on the site."""
    raw = tmp_path_factory.mktemp("raw") / "numbers.gray"
    raw.write_bytes(pictures(range(FRAMES), 320, 180))

    def make(name: str) -> str:
        rate, options, _ = SOURCES[name]
        if not (site_folder / name).exists():
            picture = f"-f rawvideo -pix_fmt gray -s 320x180 -framerate {rate} -i {raw}"
            tone = f"-f lavfi -i sine=r=48000:d={float(FRAMES / Fraction(rate))}"
            ffmpeg(*f"{picture} {tone} -pix_fmt yuv420p {options}".split(), str(site_folder / name))
        return name

    return make


def numbers(clip: bytes, rate: Fraction) -> list[int]:
    """Return the numbers that a clip shows between its bumpers."""
    with av.open(io.BytesIO(clip), "r") as container:
        shown = [
            number_in(np.asarray(frame.to_ndarray(format="gray"), np.uint8))
            for frame in container.decode(video=0)
        ]
    bumper = round(BUMPER_S * rate)
    return shown[bumper:-bumper]


@pytest.mark.parametrize("name", SOURCES)
def test_manifest_names_the_frames_of_each_clip(
    name: str,
    client: FlaskClient,
    auth: Auth,
    settings: Settings,
    runtime: Runtime,
    site: str,
    numbered: Callable[[str], str],
) -> None:
    body = {"url": f"{site}/{numbered(name)}", "edit": SOURCES[name][2]}
    link = client.post("/tasks", json=body, headers=auth()).get_json()["link"]
    assert fetch_next(settings, runtime)
    while render_next(settings, runtime):
        pass
    task = client.get(link, headers=auth()).get_json()
    assert task["status"] == "done"
    archive = zipfile.ZipFile(io.BytesIO(client.get(f"{link}/clips.zip", headers=auth()).data))
    manifest = json.loads(archive.read("manifest.json"))
    rate = Fraction(manifest["frame_rate"])
    assert rate == Fraction(SOURCES[name][0])
    times = [(part["start_s"], part["end_s"]) for part in task["parts"]]
    assert [(part["start_s"], part["end_s"]) for part in manifest["parts"]] == times
    assert len(times) > 1
    for part in manifest["parts"]:
        first, end = part["start_frame"], part["end_frame"]
        assert numbers(archive.read(part["file"]), rate) == list(range(first, end))
        assert part["frames"] == end - first + 2 * round(BUMPER_S * rate)
        assert [part["start_s"], part["end_s"]] == pytest.approx([first / rate, end / rate])
        assert part["concealed_frames"] == 0
