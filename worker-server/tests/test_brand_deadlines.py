"""Making a brand ends in time, and a slow machine is not mistaken for an unavailable share."""

import io
import subprocess
import time
from pathlib import Path

import imageio_ffmpeg
import pytest
from flask import Flask
from PIL import Image

from idrl_testing.waiting import LIMIT_S
from worker_server import brand_making
from worker_server.brand_drafts import BrandDraft, BrandsBusy
from worker_server.brand_files import publish_files
from worker_server.queue import brands
from worker_server.settings import Settings


def draft(folder: Path, called_s_ago: float, **files: Path) -> BrandDraft:
    called_at = time.monotonic() - called_s_ago
    return BrandDraft(1, "Race", "#000000", {}, {}, files, folder, called_at)


def image(folder: Path) -> Path:
    target = io.BytesIO()
    Image.new("RGB", (64, 36)).save(target, "PNG")
    path = folder / "image.sent"
    path.write_bytes(target.getvalue())
    return path


def video(folder: Path) -> Path:
    path = folder / "video.sent"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi"]
    options = ["-i", "testsrc2=s=1280x720:r=25:d=4", "-pix_fmt", "yuv420p", "-f", "mp4", str(path)]
    subprocess.run([*command, *options], check=True, timeout=60)
    return path


@pytest.mark.parametrize("make", [image, video])
def test_files_that_take_too_long_are_given_up(
    make: type, app: Flask, settings: Settings, tmp_path: Path
) -> None:
    """Otherwise the caller, whose call nginx has ended by then, sends them again: two brands."""
    late = draft(tmp_path, 100, before=make(tmp_path))
    with app.app_context():
        with pytest.raises(BrandsBusy):
            brand_making.make_brand(late, settings.remote_folder)
        assert brands.list_brands(1, 10) == []


def test_publishing_has_time_of_its_own(
    app: Flask, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*arguments: object) -> None:
        time.sleep(0.5)
        publish_files(*arguments)  # type: ignore[arg-type] # passed on

    monkeypatch.setattr(brand_making, "publish_files", slow)
    monkeypatch.setattr(brand_making, "_MIN_PUBLISH_S", LIMIT_S)
    monkeypatch.setattr(brand_making, "_PUBLISH_S", LIMIT_S)
    with app.app_context():
        made = brand_making.make_brand(draft(tmp_path, 100), settings.remote_folder)
        assert [each.id for each in brands.list_brands(1, 10)] == [made.id]
