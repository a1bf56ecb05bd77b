"""Previews of brands: what they show, and that they wait for no brand that is being made."""

import io
from pathlib import Path

import numpy as np
import pytest
from brand_testing import RED, Brands, image, refused, video
from PIL import Image

from worker_server import brand_drafts


@pytest.mark.parametrize(("aspect", "size"), [("16:9", (360, 202)), ("9:16", (202, 360))])
def test_preview_shows_before_content_and_after(
    aspect: str,
    size: tuple[int, int],
    brand_calls: Brands,
    other_brand_calls: Brands,
    tmp_path: Path,
) -> None:
    mark = image(size=(20, 20), colour=(0, 200, 0, 255))
    fields = {"watermark": mark, "watermark_place": "center", "background": "#204060"}
    brand_id = brand_calls.new(before=image(size=(64, 64)), after=video(tmp_path, 1), **fields)
    path = f"/{brand_id}/preview.jpg?aspect={aspect}"
    response = brand_calls.get(path)
    assert (response.status_code, response.mimetype) == (200, "image/jpeg")
    shown = Image.open(io.BytesIO(response.data)).convert("RGB")
    width, height = size
    assert shown.size == (3 * width + 32, height + 16)

    def near(x: float, y: float, colour: tuple[int, int, int]) -> bool:
        pixel = np.array(shown.getpixel((round(x), round(y))))
        return bool(np.abs(pixel - colour).max() < 25)

    middle = 8 + height / 2
    assert near(8 + width / 2, middle, RED)  # a square in the middle of the background
    x, y = (8 + width / 2, 12) if height > width else (12, middle)
    assert near(x, y, (0x20, 0x40, 0x60))
    assert near(16 + 1.5 * width, middle, (0, 200, 0))
    video_area = np.array(shown.crop((24 + 2 * width, 8, 24 + 3 * width, 8 + height)))
    assert video_area.std() > 20  # testsrc2
    again = brand_calls.client.get(
        f"/brands{path}", headers={**brand_calls.headers, "If-None-Match": response.headers["ETag"]}
    )
    assert again.status_code == 304
    refused(other_brand_calls.get(path), 404, "brand_not_found")
    refused(brand_calls.get(f"/{brand_id}/preview.jpg?aspect=2:1"), 400, "invalid_query")


def test_previews_and_brands_do_not_wait_for_each_other(
    brand_calls: Brands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoding a video for a brand takes up to a minute, and the page shows previews meanwhile."""
    monkeypatch.setattr(brand_drafts, "_WAIT_S", 0.1)
    preview = f"/{brand_calls.new(before=image())}/preview.jpg"
    with brand_drafts.making_slot():
        assert brand_calls.get(preview).status_code == 200
    with brand_drafts.drawing_slot():
        refused(brand_calls.get(preview), 503, "brands_busy")
        brand_calls.new(before=image())
    assert brand_calls.get(preview).status_code == 200
