"""The source facts that callers get are true of the file that they sent."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from worker_server.jobs.fetch import fetch_next
from worker_server.jobs.render import render_next
from worker_server.jobs.runtime import Runtime
from worker_server.settings import Settings

pytestmark = pytest.mark.usefixtures("no_wakeups", "app")
Auth = Callable[..., dict[str, str]]


@pytest.mark.parametrize(
    ("name", "codecs", "shown"),
    [
        ("s.wmv", "-c:v wmv2 -c:a wmav2", ("wmv2", "wmav2")),  # decoded first
        ("s.ts", "-c:v libx264 -c:a mp2", ("h264", "mp2")),  # rewritten first
        ("s.mp4", "-c:v libx264 -c:a aac", ("h264", "aac")),
        ("s.gif", "-an", ("gif", None)),
    ],
)
def test_source_is_described_as_it_came(
    client: FlaskClient,
    auth: Auth,
    settings: Settings,
    site: str,
    site_folder: Path,
    ffmpeg: Callable[..., None],
    runtime: Runtime,
    name: str,
    codecs: str,
    shown: tuple[str, str | None],
) -> None:
    path = site_folder / name
    inputs = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=10:d=2", "-f", "lavfi", "-i", "sine=d=2"]
    ffmpeg(*inputs, *codecs.split(), str(path))
    body = {"url": f"{site}/{name}", "start": "manual"}
    link = client.post("/tasks", json=body, headers=auth()).get_json()["link"]

    def source() -> dict[str, Any]:
        document: dict[str, Any] = client.get(link, headers=auth()).get_json()
        assert document["status"] == "planned"
        facts: dict[str, Any] = document["source"]
        return facts

    assert fetch_next(settings, runtime)
    first = source()
    assert first["size_bytes"] == path.stat().st_size
    assert (first["video_codec"], first["audio_codec"]) == shown
    assert (first["width"], first["height"], first["frame_rate"]) == (320, 180, 10)
    client.patch(link, json={"edit": {"end_s": 1}}, headers=auth())
    assert fetch_next(settings, runtime)  # plans again, without another download
    assert source() == first
    client.post(f"{link}/start", headers=auth())
    assert render_next(settings, runtime)
    manifest = client.get(f"{link}/manifest.json", headers=auth()).get_json()
    assert manifest["source"] == first
