"""Brands: validation, ownership, use by tasks, and removal of files."""

import io
import os
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brand_testing import CLEAR, RED, Brands, animation, files_on, image, noise, refused, video
from PIL import Image
from sqlalchemy import text

from worker_server import brand_drafts
from worker_server.api import brand_forms
from worker_server.db import db, transaction
from worker_server.errors import WorkFailed
from worker_server.jobs.brands import remove_unneeded_brands, task_brand
from worker_server.queue import brands
from worker_server.settings import Settings
from worker_testing import URL


def test_brand_is_stored_whole_and_shown_to_its_owner_alone(
    brand_calls: Brands, other_brand_calls: Brands, share: Path
) -> None:
    response = brand_calls.post(
        before=image(size=(640, 360)),
        after=image("JPEG", (4000, 2000)),
        watermark=image("WEBP", (100, 50), CLEAR, lossless=True),
        after_s="0.5",
        background="#C83264",
        watermark_place="top",
        watermark_width="0.3",
        watermark_opacity="0.5",
    )
    assert response.status_code == 201
    brand = response.get_json()
    assert response.headers["Location"] == brand["link"] == f"/brands/{brand['brand_id']}"
    assert brand["before"] == {"kind": "image", "duration_s": 1, "width": 640, "height": 360}
    assert brand["after"] == {"kind": "image", "duration_s": 0.5, "width": 1920, "height": 960}
    mark = {"width": 100, "height": 50, "place": "top", "width_share": 0.3, "opacity": 0.5}
    assert (brand["watermark"], brand["background"]) == (mark, "#c83264")
    assert len(files_on(share)) == 3
    stored = sum(path.stat().st_size for path in share.glob("brands/1/*"))
    assert brand["size_bytes"] == stored
    assert (
        brand_calls.get().get_json()
        == [brand]
        == [brand_calls.get(f"/{brand['brand_id']}").get_json()]
    )
    assert other_brand_calls.get().get_json() == []
    refused(other_brand_calls.get(f"/{brand['brand_id']}"), 404, "brand_not_found")
    refused(other_brand_calls.task(brand["brand_id"]), 422, "brand_not_found")
    gone = other_brand_calls.client.delete(
        f"/brands/{brand['brand_id']}", headers=other_brand_calls.headers
    )
    refused(gone, 404, "brand_not_found")


def test_same_content_is_one_file_of_its_owner(
    brand_calls: Brands, other_brand_calls: Brands, share: Path
) -> None:
    brand_calls.new(before=image(), after=image())
    brand_calls.new(before=image())
    other_brand_calls.new(before=image())
    assert sorted(path.parent.name for path in share.glob("brands/*/*")) == ["1", "2"]


def test_pictures_are_kept_upright_and_transparency_shows_the_background(
    brand_calls: Brands, share: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right to see it
    left_red = Image.new("RGB", (60, 30), (0, 0, 200))
    left_red.paste(RED, (0, 0, 30, 30))
    target = io.BytesIO()
    left_red.save(target, "JPEG", quality=95, exif=exif)
    brand_calls.new(before=target.getvalue(), after=image(colour=CLEAR), background="#204060")
    images = {}
    for path in share.glob("brands/1/*.png"):
        with Image.open(path) as opened:
            images[opened.size] = opened.convert("RGB")
            assert not opened.getexif()
            assert opened.mode == "RGB"
    upright = images[30, 60]
    assert np.abs(np.array(upright.getpixel((15, 10))) - RED).max() < 20  # red is on top
    assert images[64, 36].getpixel((5, 5)) == (0x20, 0x40, 0x60)


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
REFUSED = {
    "empty": (b"", "brand_file_empty"),
    "svg": (SVG, "brand_file_unsupported"),
    "text": (b"no image", "brand_file_unsupported"),
    "html": (b"<!doctype html><title>x</title>", "brand_file_unsupported"),
    "bmp": (image("BMP"), "brand_file_unsupported"),
    "tiff": (image("TIFF"), "brand_file_unsupported"),
    "gif": (image("GIF"), "brand_image_animated"),
    "wide": (image(size=(20_000, 10)), "brand_image_too_large"),
    "many pixels": (image(size=(5000, 5000)), "brand_image_too_large"),
    "webp animation": (animation("WEBP"), "brand_image_animated"),
    "apng": (animation("PNG"), "brand_image_animated"),
    "truncated png": (noise("PNG")[:20_000], "brand_file_broken"),
    "truncated jpeg": (noise("JPEG")[:3000], "brand_file_broken"),
    "truncated webp": (noise("WEBP")[:500], "brand_file_broken"),
    "png of noise": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "brand_file_broken"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_file_type_is_detected_by_content(name: str, brand_calls: Brands, share: Path) -> None:
    content, code = REFUSED[name]
    body = refused(brand_calls.post(before=image(), after=content, watermark=image()), 422, code)
    assert body["errors"][0]["field"] == "after"
    assert (brand_calls.get().get_json(), files_on(share)) == ([], set())


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " \u2003"}, "name"),
        ({"name": "n" * 201}, "name"),
        ({"before_s": "5.1"}, "before_s"),
        ({"before_s": "-1"}, "before_s"),
        ({"after_s": "nan"}, "after_s"),
        ({"background": "red"}, "background"),
        ({"background": "#12345"}, "background"),
        ({"watermark_place": "middle"}, "watermark_place"),
        ({"watermark_width": "0.01"}, "watermark_width"),
        ({"watermark_width": "0.51"}, "watermark_width"),
        ({"watermark_opacity": "1.01"}, "watermark_opacity"),
        ({"colour": "#123456"}, "colour"),
        ({"before": "text"}, "before"),
        ({"picture": image()}, "picture"),
        ({"name": ["one", "two"]}, "name"),
        ({"before": [(io.BytesIO(image()), "a"), (io.BytesIO(image()), "b")]}, "before"),
    ],
)
def test_form_is_refused_with_the_name_of_the_field(
    fields: dict[str, Any], field: str, brand_calls: Brands
) -> None:
    problem_document = refused(brand_calls.post(**fields), 400, "invalid_body")
    assert [error["field"] for error in problem_document["errors"]] == [field]
    assert brand_calls.get().get_json() == []


def test_text_for_a_file_is_named(brand_calls: Brands) -> None:
    """As `curl -F before=intro.mp4` sends it, without the @."""
    problem_document = refused(brand_calls.post(before="intro.mp4"), 400, "invalid_body")
    assert problem_document["errors"] == [
        {"field": "before", "code": "extra_forbidden", "message": "Must be a file, not text."}
    ]


def test_other_bodies_are_refused(brand_calls: Brands, monkeypatch: pytest.MonkeyPatch) -> None:
    json = brand_calls.client.post("/brands", headers=brand_calls.headers, json={"name": "Race"})
    refused(json, 415, "unsupported_media_type")
    monkeypatch.setattr(brand_forms, "MAX_BYTES", 1000)
    refused(brand_calls.post(before=bytes(100_000)), 413, "body_too_large")
    refused(brand_calls.client.post("/brands", data={"name": "Race"}), 401, "token_missing")


def test_task_has_the_brand_of_its_submission(brand_calls: Brands) -> None:
    first, second = brand_calls.new(before=image()), brand_calls.new(after=image())

    def chosen(brand_id: object) -> str:
        response = brand_calls.task(brand_id)
        assert response.status_code == 202
        return str(response.get_json()["edit"]["brand_id"])

    assert [chosen(each) for each in (None, "none", first)] == ["built-in", "none", first]
    for brand_id in (first, "none", "built-in"):
        body = {"brand_id": brand_id}
        response = brand_calls.client.put("/brands/default", headers=brand_calls.headers, json=body)
        assert response.get_json() == brand_calls.get("/default").get_json() == body
        assert (chosen(None), chosen(second)) == (brand_id, second)
    brand_calls.client.put(
        "/brands/default", headers=brand_calls.headers, json={"brand_id": second}
    )
    assert (
        brand_calls.client.delete(f"/brands/{second}", headers=brand_calls.headers).status_code
        == 204
    )
    assert brand_calls.get("/default").get_json() == {"brand_id": "built-in"}
    assert chosen(None) == "built-in"
    for unknown in (str(uuid.uuid4()), second):
        body = {"brand_id": unknown}
        response = brand_calls.client.put("/brands/default", headers=brand_calls.headers, json=body)
        refused(response, 404, "brand_not_found")
        problem_document = refused(brand_calls.task(unknown), 422, "brand_not_found")
        assert problem_document["errors"][0]["field"] == "edit.brand_id"
    refused(brand_calls.task("other"), 400, "invalid_body")


def test_batch_names_the_items_without_a_brand(brand_calls: Brands) -> None:
    brand_id = brand_calls.new(before=image())
    items = [{"url": URL, "edit": {"brand_id": each}} for each in (brand_id, str(uuid.uuid4()))]
    response = brand_calls.client.post(
        "/batches", headers=brand_calls.headers, json={"items": items}
    )
    problem_document = refused(response, 400, "invalid_batch")
    assert [error["field"] for error in problem_document["errors"]] == ["items.1.edit.brand_id"]
    body = {"items": [{"url": URL}], "edit": {"brand_id": brand_id}}
    batch = brand_calls.client.post("/batches", headers=brand_calls.headers, json=body).get_json()
    task = brand_calls.client.get(
        f"/tasks/{batch['task_ids'][0]}", headers=brand_calls.headers
    ).get_json()
    assert task["edit"]["brand_id"] == brand_id


def _age(share: Path) -> None:
    """Let what happened lie an hour back."""
    for path in share.glob("brands/*/*"):
        os.utime(path, (time.time() - 3600,) * 2)
    with transaction() as session:
        session.execute(text("UPDATE brands SET deleted_at = deleted_at - interval '1 hour'"))


def _set_status(task_id: str, status: str, ended_hours_ago: int) -> None:
    statement = (
        "UPDATE tasks SET status = :status, finished_at = now() - make_interval(hours => :h)"
    )
    with transaction() as session:
        values = {"status": status, "h": ended_hours_ago, "id": task_id}
        session.execute(text(f"{statement} WHERE id = :id"), values)


def test_files_of_a_deleted_brand_go_when_no_task_needs_them(
    brand_calls: Brands, share: Path, settings: Settings
) -> None:
    brand_id, kept = (
        brand_calls.new(before=image(), after=image(size=(9, 9))),
        brand_calls.new(before=image()),
    )
    task_id = brand_calls.task(brand_id).get_json()["task_id"]
    brand_calls.client.delete(f"/brands/{brand_id}", headers=brand_calls.headers)
    assert [each["brand_id"] for each in brand_calls.get().get_json()] == [kept]
    orphan = share / "brands/1/stray.png"
    orphan.write_bytes(b"left behind")
    (share / "brands/7").mkdir()
    (share / "brands/7/stray.png").write_bytes(b"of an account that is gone")
    fresh = share / "brands/1/fresh.png"
    for status, hours, left in (("queued", 0, 2), ("failed", 1, 2), ("failed", 25, 1)):
        _set_status(task_id, status, hours)
        _age(share)
        fresh.write_bytes(b"its row comes a moment later")
        remove_unneeded_brands(settings)
        assert len(files_on(share) - {"fresh.png"}) == left, status
    assert fresh.exists()
    assert not orphan.exists()
    assert not (share / "brands/7").exists()
    assert brand_calls.get(f"/{kept}").status_code == 200
    db.session.remove()


def test_retry_after_the_brand_is_gone_fails_with_its_code(
    brand_calls: Brands, settings: Settings
) -> None:
    brand_id = brand_calls.new(before=image())
    edit = {"brand_id": brand_id}
    assert task_brand(edit, 1, settings).before is not None
    with pytest.raises(WorkFailed) as failure:
        task_brand(edit, 2, settings)
    assert (failure.value.code, failure.value.retryable) == ("brand_gone", False)


@pytest.mark.parametrize("damage", ["missing", "empty"])
def test_brand_whose_file_the_share_has_lost_fails_with_its_code(
    brand_calls: Brands, settings: Settings, share: Path, damage: str
) -> None:
    picture = image()
    edit = {"brand_id": brand_calls.new(watermark=picture)}
    [file] = (share / "brands/1").iterdir()
    file.unlink() if damage == "missing" else file.write_bytes(b"")
    with pytest.raises(WorkFailed) as failure:
        task_brand(edit, 1, settings)
    assert (failure.value.code, failure.value.retryable) == ("brand_gone", False)
    brand_calls.new(watermark=picture)
    assert task_brand(edit, 1, settings).watermark is not None


def test_brand_without_the_share_is_tried_again(
    brand_calls: Brands, settings: Settings, share: Path
) -> None:
    edit = {"brand_id": brand_calls.new(before=image())}
    share.rename(share.with_name("elsewhere"))
    with pytest.raises(OSError, match="not mounted"):
        task_brand(edit, 1, settings)


def test_brands_that_wait_too_long_are_503_with_retry_after(
    brand_calls: Brands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brand_drafts, "_WAIT_S", 0.1)
    with brand_drafts.making_slot():
        response = brand_calls.post(before=image())
        refused(response, 503, "brands_busy")
        assert response.headers["Retry-After"] == "5"
    brand_calls.new(before=image())


def test_account_may_have_a_hundred_brands(
    brand_calls: Brands, monkeypatch: pytest.MonkeyPatch, share: Path
) -> None:
    monkeypatch.setattr(brands, "MAX_BRANDS", 1)
    brand_id = brand_calls.new(before=image())
    refused(brand_calls.post(after=image(size=(9, 9))), 429, "too_many_brands")
    assert len(files_on(share)) == 1
    brand_calls.client.delete(f"/brands/{brand_id}", headers=brand_calls.headers)
    brand_calls.new(after=image(size=(9, 9)))


def test_videos_become_clips_of_their_own_or_are_refused(
    brand_calls: Brands, tmp_path: Path, share: Path
) -> None:
    refused(brand_calls.post(before=video(tmp_path, 10.2)), 422, "brand_video_too_long")
    watermark = brand_calls.post(watermark=video(tmp_path, 1))
    refused(watermark, 422, "brand_file_unsupported")
    assert "Only before and after the content, videos" in watermark.get_json()["detail"]
    refused(brand_calls.post(before=video(tmp_path, 2)[:6000]), 422, "brand_file_broken")
    response = brand_calls.post(before=video(tmp_path, 1.5))
    shown = {"kind": "video", "duration_s": 1.5, "width": 160, "height": 90}
    assert response.get_json()["before"] == shown
    assert [path.suffix for path in share.glob("brands/1/*")] == [".mp4"]


def test_no_brand_is_made_while_the_share_is_unavailable(brand_calls: Brands, share: Path) -> None:
    (share / ".idrl-share").unlink()
    refused(brand_calls.post(before=image()), 503, "storage_unavailable")
    assert brand_calls.get().get_json() == []
