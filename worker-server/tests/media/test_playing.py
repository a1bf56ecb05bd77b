"""Chromium plays a copied clip, and shows the right frame wherever it is sent to."""

import http.server
import json
import queue
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from idrl_testing.http_servers import serving
from worker_server.media import FrameRange, probe

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
PAGE = Path(__file__).with_name("player.html")
TAGS = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"
SOURCES = {
    "B-frames": ("25", "s.mp4", "-bf 3 -g 12 -x264-params b-pyramid=normal"),
    "no B-frames": ("30", "s.mp4", "-bf 0 -g 15 -refs 1"),
    "sixteen references": ("25", "s.mp4", "-bf 8 -g 24 -refs 16 -b_strategy 0"),
    "main profile": ("24000/1001", "s.mkv", "-profile:v main -bf 2 -g 12"),
    "constrained baseline": ("25", "s.mp4", "-profile:v baseline -g 12"),
    "one key frame": ("25", "s.mp4", "-bf 3 -g 1000 -sc_threshold 0"),
    "parameter sets of other numbers": ("50", "s.mp4", "-bf 2 -g 20 -x264-params sps-id=1"),
}


@contextmanager
def site(clip: Path, wanted: dict[str, Any]) -> Iterator[tuple[str, "queue.Queue[dict[str, Any]]"]]:
    """Serve the page, the clip and the times to seek to; the queue gets the page's reports."""
    reports: queue.Queue[dict[str, Any]] = queue.Queue()
    answers: dict[str, Callable[[], bytes]] = {
        "/": PAGE.read_bytes,
        "/clip": clip.read_bytes,
        "/wanted": lambda: json.dumps(wanted).encode(),
    }
    kinds = {"/": "text/html", "/clip": "video/mp4"}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path)
            self.send_response(200 if answer else 404)
            self.send_header("Content-Type", kinds.get(self.path, "application/json"))
            self.end_headers()
            self.wfile.write(answer() if answer else b"")

        def do_POST(self) -> None:
            reports.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}/", reports


def played(clip: Path, wanted: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Open the page in Chromium and return what it reports."""
    program = shutil.which("chromium")
    assert program, "There is no chromium here; Debian's package has it."
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--mute-audio",
    ]
    options += [
        "--autoplay-policy=no-user-gesture-required",
        f"--user-data-dir={scratch / 'profile'}",
    ]
    with site(clip, wanted) as (url, reports), (scratch / "chromium.log").open("wb") as log:
        browser = subprocess.Popen(
            [program, *options, url], stdout=log, stderr=log, start_new_session=True
        )
        try:
            return reports.get(timeout=300)
        finally:
            browser.terminate()
            browser.wait(60)


@pytest.mark.parametrize("kind", SOURCES)
def test_chromium_shows_every_frame_at_its_time(
    kind: str, numbered: Callable[..., Path], copy: Callable[..., Any], tmp_path: Path
) -> None:
    rate, name, options = SOURCES[kind]
    path = numbered(90, rate, name, f"{options} {TAGS}")
    source = probe(path)
    start = 0 if kind == "one key frame" else 5
    clip = copy(source, path, FrameRange(0, start, 83, source.frame_rate))
    bumper, frame_rate = clip.edit.frames_before, clip.edit.frame_rate
    places = list(range(bumper, bumper + clip.edit.part.frame_count, 3))
    random.Random(1).shuffle(places)
    times = [float((place + 0.5) / frame_rate) for place in places]
    report = played(clip.path, {"times": times, "frame_s": float(1 / frame_rate)}, tmp_path)
    assert "error" not in report
    assert report["size"] == [320, 180]
    assert abs(report["duration"] - clip.edit.duration_s) < 0.05
    assert report["sought"] == [place - bumper + start for place in places]
    shown = {round(time_s * frame_rate): number for time_s, number in report["shown"]}
    inside = {
        place: number
        for place, number in shown.items()
        if 0 <= place - bumper < clip.edit.part.frame_count
    }
    # A busy machine leaves out as many frames as it likes, and later ones may follow one before it
    # is read: seeking above tells each frame's time exactly. But none is shown too late, nor one
    # before its turn.
    ahead = [number - (place - bumper + start) for place, number in inside.items()]
    assert min(ahead, default=0) >= 0
    in_time = [inside[place] for place in sorted(inside)]
    assert in_time == sorted(in_time)
