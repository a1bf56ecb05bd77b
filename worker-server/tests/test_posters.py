"""Posters and contact sheets as callers get them, read with Pillow."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image, ImageFont
from sqlalchemy import QueuePool

from worker_server.api import poster_views
from worker_server.api.contact_sheets import contact_sheet
from worker_server.api.poster_queries import PublishedPart
from worker_server.db import db
from worker_server.jobs.fetch import fetch_next
from worker_server.jobs.render import render_next
from worker_server.jobs.runtime import Runtime
from worker_server.queue import claims, leases
from worker_server.queue.parts import Clip
from worker_server.settings import Settings
from worker_testing import PATH, SOURCE, plan, problem, processing, submit

Auth = Callable[..., dict[str, str]]
COLOURS = [(200, 30, 30), (30, 160, 30), (30, 30, 200)]


def write_poster(
    folder: Path, name: str, colour: tuple[int, int, int], size: tuple[int, int]
) -> None:
    folder.mkdir(exist_ok=True)
    Image.new("RGB", size, colour).save(folder / name, "JPEG")


@pytest.fixture
def drawn(settings: Settings) -> Callable[..., str]:
    """A task of user 1 with finished parts whose posters are plain colours; returns its id."""

    def make(parts: int = 3, size: tuple[int, int] = (640, 360)) -> str:
        task_id = submit()
        claim = claims.claim_task("me", 30)
        assert claim is not None
        leases.begin_processing(claim.lease, SOURCE, PATH, plan(parts))
        for number in range(parts):
            part = claims.claim_part("me", 30)
            assert part is not None
            path = f"{task_id}/{number}.1.mp4"
            assert leases.finish_part(part.lease, Clip(path, 7, "0" * 64, 600, "encode"))
            folder = settings.remote_folder / str(task_id)
            write_poster(folder, f"{number}.1.jpg", COLOURS[number % 3], size)
        return str(task_id)

    return make


def opened(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    assert picture.format == "JPEG"
    return picture.convert("RGB")


def is_near(pixel: object, colour: tuple[int, int, int]) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(shown - wanted) < 12 for shown, wanted in zip(pixel, colour, strict=True))


def test_poster_comes_with_the_clip(
    client: FlaskClient,
    auth: Auth,
    settings: Settings,
    site: str,
    sample: Callable[..., str],
    runtime: Runtime,
) -> None:
    task_id = submit(f"{site}/{sample(2)}")
    assert fetch_next(settings, runtime)
    path = f"/tasks/{task_id}/parts/0/poster.jpg"
    assert problem(client.get(path, headers=auth())) == (409, "part_not_ready")
    assert render_next(settings, runtime)
    with client.get(path, headers=auth()) as answer:
        assert (answer.status_code, answer.mimetype) == (200, "image/jpeg")
        assert opened(answer.data).size == (320, 180)
        assert answer.headers["Cache-Control"] == "private, no-cache"
        tag = {"If-None-Match": answer.headers["ETag"]}
    assert client.get(path, headers=auth() | tag).status_code == 304
    assert problem(client.get(path, headers=auth(2))) == (404, "task_not_found")
    assert problem(client.get(path)) == (401, "token_missing")
    assert problem(client.get(path.replace("/0/", "/1/"), headers=auth())) == (
        404,
        "part_not_found",
    )
    (settings.remote_folder / str(task_id) / "0.1.jpg").unlink()
    assert problem(client.get(path, headers=auth())) == (404, "no_poster")
    with client.get(f"/tasks/{task_id}/parts/0", headers=auth()) as clip:
        assert clip.status_code == 200


def test_poster_while_the_share_is_unavailable(
    client: FlaskClient, auth: Auth, drawn: Callable[..., str], settings: Settings
) -> None:
    task_id = drawn(1)
    settings.remote_folder.rename(settings.remote_folder.with_name("unmounted"))
    for path in (f"/tasks/{task_id}/parts/0/poster.jpg", f"/tasks/{task_id}/contact-sheet.jpg"):
        assert problem(client.get(path, headers=auth())) == (503, "storage_unavailable")


def test_part_is_done_though_its_poster_cannot_be_published(
    client: FlaskClient,
    auth: Auth,
    settings: Settings,
    site: str,
    sample: Callable[..., str],
    runtime: Runtime,
) -> None:
    task_id = submit(f"{site}/{sample(2)}")
    assert fetch_next(settings, runtime)
    (settings.remote_folder / str(task_id) / "0.1.jpg").mkdir()
    assert render_next(settings, runtime)
    task = client.get(f"/tasks/{task_id}", headers=auth()).get_json()
    assert task["status"] == "done"


def test_sheet_shows_every_poster_in_order(
    client: FlaskClient, auth: Auth, drawn: Callable[..., str], settings: Settings
) -> None:
    task_id = drawn(3)
    (settings.remote_folder / task_id / "1.1.jpg").write_bytes(b"no picture")
    path = f"/tasks/{task_id}/contact-sheet.jpg"
    answer = client.get(path, headers=auth())
    assert (answer.status_code, answer.mimetype) == (200, "image/jpeg")
    sheet = opened(answer.data)
    assert sheet.size == (3 * 248 + 8, 135 + 24 + 16)
    pixels = [sheet.getpixel((8 + 248 * column + 120, 8 + 67)) for column in range(3)]
    assert is_near(pixels[0], COLOURS[0])
    assert is_near(pixels[2], COLOURS[2])
    assert is_near(pixels[1], (0x3F, 0x3F, 0x46))
    label = sheet.crop((8, 8 + 135 + 2, 248, 8 + 135 + 24)).convert("L")
    assert max(label.tobytes()) > 200  # something is written there
    tag = {"If-None-Match": answer.headers["ETag"]}
    assert client.get(path, headers=auth() | tag).status_code == 304
    assert problem(client.get(path, headers=auth(2))) == (404, "task_not_found")


def test_drawing_a_sheet_keeps_no_connection_to_the_database(
    app: Flask, auth: Auth, drawn: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers who wait for their turn would keep them all, and other calls wait for one."""
    path, in_use = f"/tasks/{drawn(1)}/contact-sheet.jpg", []

    def draw(*of_sheet: Any) -> bytes:  # noqa: ANN401 # passed on
        in_use.append(connections_in_use())
        return contact_sheet(*of_sheet)

    monkeypatch.setattr(poster_views, "contact_sheet", draw)
    before = connections_in_use()
    assert app.test_client().get(path, headers=auth()).status_code == 200
    assert in_use == [before]


def connections_in_use() -> int:
    pool = db.engine.pool
    assert isinstance(pool, QueuePool)
    return pool.checkedout()


@pytest.mark.parametrize("kept", [0, 2, 20, 300, 700, -2, None])
def test_damaged_poster_is_an_empty_tile(
    kept: int | None, client: FlaskClient, auth: Auth, drawn: Callable[..., str], settings: Settings
) -> None:
    """Cut off anywhere, or a folder in its place: the other parts are shown."""
    task_id = drawn(2)
    poster = settings.remote_folder / task_id / "0.1.jpg"
    Image.effect_noise((640, 360), 80).save(poster, "JPEG")
    content = poster.read_bytes()
    poster.unlink()
    if kept is None:
        poster.mkdir()
    else:
        poster.write_bytes(content[:kept])
    answer = client.get(f"/tasks/{task_id}/contact-sheet.jpg", headers=auth())
    assert answer.status_code == 200
    sheet = opened(answer.data)
    assert is_near(sheet.getpixel((8 + 120, 8 + 67)), (0x3F, 0x3F, 0x46))
    assert is_near(sheet.getpixel((8 + 248 + 120, 8 + 67)), COLOURS[1])


def test_sheet_of_many_upright_parts_is_bounded(
    client: FlaskClient, auth: Auth, drawn: Callable[..., str]
) -> None:
    sheet = opened(
        client.get(f"/tasks/{drawn(150, (90, 160))}/contact-sheet.jpg", headers=auth()).data
    )
    assert sheet.width <= 6 * (240 + 8) + 8
    assert sheet.height == 16 * (160 + 24 + 8) + 8


@pytest.mark.parametrize("size", [(640, 1422), (32, 64), (640, 360)])
def test_no_label_reaches_into_the_next_one(size: tuple[int, int], tmp_path: Path) -> None:
    """As of a phone's screen recording of some hours."""
    write_poster(tmp_path / "t", "0.1.jpg", COLOURS[0], size)
    starts = [36_000 + 20 * number for number in range(6)]
    parts = [PublishedPart(1000 + n, at, at + 20, "t/0.1.mp4") for n, at in enumerate(starts)]
    width = opened(contact_sheet(tmp_path, parts)).width
    labels = ["1001   10:00:00 - 10:00:20"] * 6
    assert width >= sum(ImageFont.load_default(14).getlength(label) + 8 for label in labels)


def test_sheet_without_posters_is_404(
    client: FlaskClient, auth: Auth, finished: tuple[str, bytes]
) -> None:
    """As of a task of an earlier release, whose clips have no posters."""
    for task_id in (processing(parts=1), finished[0]):
        answer = client.get(f"/tasks/{task_id}/contact-sheet.jpg", headers=auth())
        assert problem(answer) == (404, "no_poster")
    assert problem(client.get("/tasks/none/contact-sheet.jpg", headers=auth())) == (
        404,
        "task_not_found",
    )
