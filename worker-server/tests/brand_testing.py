"""Files for brands, and calls of `/brands` as one account makes them."""

import io
import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from worker_testing import URL, problem

RED, CLEAR = (220, 30, 30), (0, 0, 0, 0)


def image(
    kind: str = "PNG",
    size: tuple[int, int] = (64, 36),
    colour: tuple[int, ...] = RED,
    **options: Any,  # noqa: ANN401 # passed on
) -> bytes:
    target = io.BytesIO()
    Image.new("RGBA" if len(colour) == 4 else "RGB", size, colour).save(target, kind, **options)
    return target.getvalue()


def animation(kind: str) -> bytes:
    target = io.BytesIO()
    frames = [Image.new("RGB", (16, 16), (shade, 0, 0)) for shade in (0, 100, 200)]
    frames[0].save(target, kind, save_all=True, append_images=frames[1:], duration=40)
    return target.getvalue()


def noise(kind: str) -> bytes:
    target = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 255, (90, 160, 3), np.uint8)
    Image.fromarray(pixels).save(target, kind)
    return target.getvalue()


def video(tmp_path: Path, seconds: float, *options: str) -> bytes:
    path = tmp_path / "video.mp4"
    source = ["-f", "lavfi", "-i", f"testsrc2=s=160x90:r=10:d={seconds}"]
    encoding = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", *options]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *source, *encoding, str(path)]
    subprocess.run(command, check=True, timeout=60)
    return path.read_bytes()


class Brands:
    """The calls of one account."""

    def __init__(self, client: FlaskClient, headers: dict[str, str]) -> None:
        self.client = client
        self.headers = headers

    def post(self, **fields: object) -> TestResponse:
        data: dict[str, object] = {"name": "Race"}
        for name, value in fields.items():
            data[name] = (io.BytesIO(value), "any.name") if isinstance(value, bytes) else value
        kind = "multipart/form-data"
        return self.client.post("/brands", headers=self.headers, data=data, content_type=kind)

    def new(self, **fields: object) -> str:
        response = self.post(**fields)
        assert response.status_code == 201, response.get_data(as_text=True)
        return str(response.get_json()["brand_id"])

    def get(self, path: str = "") -> TestResponse:
        return self.client.get(f"/brands{path}", headers=self.headers)

    def task(self, brand_id: object) -> TestResponse:
        body = {"url": URL, "edit": {"brand_id": brand_id}}
        return self.client.post("/tasks", headers=self.headers, json=body)


def refused(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    assert problem(response) == (status, code)
    body: dict[str, Any] = response.get_json()
    return body


def files_on(share: Path) -> set[str]:
    """Return the names of the files of brands."""
    return {path.name for path in share.glob("brands/*/*")}
