"""The `edit` of a task: its bounds, its defaults, and what jobs make of it."""

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from idrl_testing.database import Database
from worker_server import media
from worker_server.jobs.edits import planned_parts, style_of
from worker_server.jobs.fetch import fetch_next
from worker_server.jobs.render import render_next
from worker_server.jobs.runtime import Runtime
from worker_server.settings import Settings
from worker_testing import URL, problem

Auth = Callable[..., dict[str, str]]
WATCH = media.PrepareWatch("ffmpeg")
# x264 writes its options into the stream.
_X264_THREADS = re.compile(rb"x264 - core .{,900} threads=(\d+) ", re.DOTALL)
DEFAULTS = {
    "part_seconds": 20,
    "start_s": None,
    "end_s": None,
    "segments": None,
    "cut": "exact",
    "aspect": "16:9",
    "fit": "crop",
    "quality": "balanced",
    "brand_id": "built-in",
}


def _segment(start_s: float, end_s: float, **more: object) -> dict[str, object]:
    return {"start_s": start_s, "end_s": end_s, **more}


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        ([], "edit"),
        ({"colour": "red"}, "edit.colour"),
        ({"part_seconds": 1.9}, "edit.part_seconds"),
        ({"part_seconds": 60.1}, "edit.part_seconds"),
        ({"part_seconds": 2.55}, "edit.part_seconds"),
        ({"part_seconds": "20"}, "edit.part_seconds"),
        ({"part_seconds": True}, "edit.part_seconds"),
        ({"start_s": -0.1}, "edit.start_s"),
        ({"end_s": 0}, "edit.end_s"),
        ({"start_s": 5, "end_s": 5}, "edit.end_s"),
        ({"start_s": 5, "end_s": 4.9}, "edit.end_s"),
        ({"end_s": 1_000_001}, "edit.end_s"),
        ({"segments": []}, "edit.segments"),
        ({"segments": [_segment(0, 1)] * 501}, "edit.segments"),
        ({"segments": [_segment(1, 1)]}, "edit.segments.0.end_s"),
        ({"segments": [_segment(0, 1), _segment(3, 2)]}, "edit.segments.1.end_s"),
        ({"segments": [{"start_s": 1}]}, "edit.segments.0.end_s"),
        ({"segments": [_segment(0, 1, name="")]}, "edit.segments.0.name"),
        ({"segments": [_segment(0, 1, name="n" * 101)]}, "edit.segments.0.name"),
        ({"segments": [_segment(0, 1, name="a\nb")]}, "edit.segments.0.name"),
        ({"segments": [_segment(0, 1, part_seconds=2)]}, "edit.segments.0.part_seconds"),
        ({"segments": [_segment(0, 1)], "start_s": 0}, "edit"),
        ({"segments": [_segment(0, 1)], "end_s": 9}, "edit"),
        ({"cut": "somewhere"}, "edit.cut"),
        ({"aspect": "4:3"}, "edit.aspect"),
        ({"fit": "stretch"}, "edit.fit"),
        ({"quality": "best"}, "edit.quality"),
        ({"brand_id": "mine"}, "edit.brand_id"),
    ],
)
def test_bad_edit_is_refused(
    client: FlaskClient, auth: Auth, database: Database, edit: object, field: str
) -> None:
    response = client.post("/tasks", json={"url": URL, "edit": edit}, headers=auth())
    assert problem(response) == (400, "invalid_body")
    assert [error["field"] for error in response.get_json()["errors"]] == [field]
    assert database.execute("SELECT count(*) FROM tasks") == [(0,)]


def test_segments_of_a_batch_count_for_each_item(
    client: FlaskClient, auth: Auth, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body of 300 kB would have become 150 MB of edits, which took 1 GB of memory."""
    edit = {"segments": [_segment(n, n + 1, name="é" * 100) for n in range(500)]}
    body: dict[str, Any] = {"items": [{"url": URL}] * 500, "edit": edit}
    refused = client.post("/batches", json=body, headers=auth())
    assert problem(refused) == (400, "invalid_body")
    [error] = refused.get_json()["errors"]
    assert (error["field"], error["code"]) == ("items", "too_many_segments")
    assert "250000" in error["message"]
    assert database.execute("SELECT count(*) FROM tasks") == [(0,)]
    monkeypatch.setattr("worker_server.api.edits.MAX_BATCH_SEGMENTS", 1001)
    own = [{}, {"fit": "pad"}, {"start_s": 3}, {"segments": [_segment(0, 1)]}]
    body["items"] = [{"url": URL, "edit": each} for each in own]
    assert client.post("/batches", json=body, headers=auth()).status_code == 202
    body["items"].append({"url": URL})
    assert problem(client.post("/batches", json=body, headers=auth())) == (400, "invalid_body")


@pytest.mark.parametrize("number", ["1e400", "NaN"])
def test_invalid_number_is_refused(client: FlaskClient, auth: Auth, number: str) -> None:
    body = f'{{"url": "{URL}", "edit": {{"start_s": {number}}}}}'
    response = client.post("/tasks", data=body, content_type="application/json", headers=auth())
    assert response.status_code == 400


@pytest.mark.parametrize(
    "edit",
    [
        {},
        {"part_seconds": 2},
        {"part_seconds": 60, "aspect": "source", "fit": "blur", "quality": "small"},
        {"part_seconds": 12.3, "start_s": 0.04, "end_s": 7, "brand_id": "none"},
        {"segments": [_segment(9, 10, name="Ziel é 🏁"), _segment(0, 9.5)], "aspect": "9:16"},
        {"segments": [_segment(n, n + 1000.125, name="n" * 100) for n in range(500)]},
    ],
)
def test_task_shows_its_edit_whole(client: FlaskClient, auth: Auth, edit: dict[str, Any]) -> None:
    created = client.post("/tasks", json={"url": URL, "edit": edit}, headers=auth())
    assert created.status_code == 202, created.get_json()
    wanted = DEFAULTS | edit
    if "segments" in edit:
        wanted["segments"] = [{"name": None, **segment} for segment in edit["segments"]]
    read = client.get(created.get_json()["link"], headers=auth()).get_json()
    assert created.get_json()["edit"] == read["edit"] == wanted
    (listed,) = client.get("/tasks", headers=auth()).get_json()
    assert "edit" not in listed


@pytest.mark.parametrize("body", [{"url": URL}, {"url": URL, "edit": None}])
def test_missing_edit_is_the_defaults(
    client: FlaskClient, auth: Auth, body: dict[str, object]
) -> None:
    assert client.post("/tasks", json=body, headers=auth()).get_json()["edit"] == DEFAULTS


def test_task_of_an_older_release_is_rendered_as_before(
    settings: Settings, source: media.Source
) -> None:
    parts = planned_parts(source, Path(), None, settings, WATCH)
    assert [part.end_s - part.start_s for part in parts] == [20, 20, 5]
    assert {(part.segment, part.name) for part in parts} == {(None, None)}
    style = style_of(None, settings, 16)
    assert (style.aspect, style.fit) == ("16:9", "crop")
    assert (style.profile.preset, style.profile.crf) == ("ultrafast", 22)


@pytest.mark.parametrize(
    ("quality", "by_itself", "overridden"),
    [
        ("fast", ("veryfast", 19.2), ("veryfast", 19.2)),
        ("balanced", ("faster", 22), ("superfast", 0)),
        ("small", ("medium", 22.3), ("medium", 22.3)),
        (None, ("ultrafast", 22), ("superfast", 0)),
    ],
)
def test_operator_settings_override_the_balanced_quality(
    settings: Settings,
    quality: str | None,
    by_itself: tuple[str, float],
    overridden: tuple[str, float],
) -> None:
    edit = None if quality is None else DEFAULTS | {"quality": quality}
    own = settings.model_copy(update={"render_preset": "superfast", "render_crf": 0})
    for each, wanted in ((settings, by_itself), (own, overridden)):
        profile = style_of(edit, each, 16).profile
        assert (profile.preset, profile.crf) == wanted
        assert profile.threads == settings.encoder_threads_for(16)
        alone = style_of(edit, each, 1).profile
        assert alone == replace(profile, threads=settings.encoder_threads_for(1))


def test_segments_become_parts_with_their_names(settings: Settings, source: media.Source) -> None:
    segments = [_segment(30, 44.5, name="end"), _segment(12.4, 13, name=None)]
    edit = DEFAULTS | {"segments": segments, "part_seconds": 6.4}
    parts = planned_parts(source, Path(), edit, settings, WATCH)
    assert [(part.segment, part.name) for part in parts] == [(0, "end")] * 3 + [(1, None)]
    assert [(part.start_frame, part.end_frame) for part in parts] == [
        (750, 910),
        (910, 1070),
        (1070, 1113),
        (310, 325),
    ]


@pytest.mark.parametrize("cut", ["keyframe", "silence", "scene"])
def test_times_of_hundreds_of_decimals_are_planned(
    client: FlaskClient,
    auth: Auth,
    settings: Settings,
    runtime: Runtime,
    database: Database,
    site: str,
    sample: Callable[..., str],
    cut: str,
) -> None:
    """The child that looks for cuts could not be started with so many, and was tried for ever."""
    segments = [_segment(1e-300, 2e-300)] * 500
    task = {"url": f"{site}/{sample(2)}", "edit": {"cut": cut, "segments": segments}}
    assert client.post("/tasks", json=task, headers=auth()).status_code == 202
    assert fetch_next(settings, runtime)
    planned = "SELECT status, error_code, (SELECT count(*) FROM parts) FROM tasks"
    assert database.execute(planned) == [("processing", None, 500)]


@pytest.fixture
def source() -> media.Source:
    """The facts of 45 s at 25 fps, as a row has them."""
    numbers = {"size_bytes": 1, "width": 1920, "height": 1080, "rotation": 0, "video_index": 0}
    flags = dict.fromkeys(("varies", "mirrored", "interlaced", "full_range", "is_vfr"), False)
    codes = dict.fromkeys(("colour_matrix", "colour_primaries", "colour_transfer"), 1)
    times = dict.fromkeys(("origin_s", "reorder_delay_s", "keyframe_reorder_delay_s"), "0")
    names = {"demuxer": "mov", "video_codec": "h264", "pix_fmt": "yuv420p", "audio_codec": ""}
    frames = {"frame_rate": "25", "frame_count": 1125, "packet_count": 1125, "duration_s": "45"}
    more = {"sample_aspect": "1", "last_pts_s": "1124/25", "seeks_by_pts": False}
    sound = {"has_audio": False, "audio_index": -1, "audio_channels": 0, "video_streams": 1}
    state = {"is_indexed": True, "preparation": "none", "irregular": ""}
    facts = numbers | flags | codes | times | names | frames | more | sound | state
    return media.Source.from_json(facts)


def _journey(
    client: FlaskClient,
    auth: Auth,
    settings: Settings,
    runtime: Runtime,
    url: str,
    edit: dict[str, Any],
) -> dict[str, Any]:
    """Post, fetch and render one task; return its document."""
    created = client.post("/tasks", json={"url": url, "edit": edit}, headers=auth())
    assert created.status_code == 202, created.get_json()
    assert fetch_next(settings, runtime)
    while render_next(settings, runtime):
        pass
    document: dict[str, Any] = client.get(created.get_json()["link"], headers=auth()).get_json()
    return document


def test_clips_are_what_the_edit_asks_for(
    client: FlaskClient,
    auth: Auth,
    settings: Settings,
    runtime: Runtime,
    site: str,
    sample: Callable[..., str],
    tmp_path: Path,
) -> None:
    segments = [_segment(6, 9.2, name="late"), _segment(1, 2.5)]
    edit = {"segments": segments, "part_seconds": 2, "aspect": "9:16", "fit": "pad"}
    url = f"{site}/{sample(10)}"
    task = _journey(client, auth, settings, runtime, url, edit | {"brand_id": "none"})
    assert task["status"] == "done", task
    parts = task["parts"]
    assert [(part["start_s"], part["end_s"]) for part in parts] == [(6, 8), (8, 9.2), (1, 2.5)]
    assert [(part["segment"], part["name"]) for part in parts] == [
        (0, "late"),
        (0, "late"),
        (1, None),
    ]
    assert [part["frames"] for part in parts] == [20, 12, 15]
    with client.get(parts[0]["link"], headers=auth()) as clip:
        (tmp_path / "clip.mp4").write_bytes(clip.data)
    facts = media.probe(tmp_path / "clip.mp4")
    assert (facts.width, facts.height, facts.duration_s) == (306, 544, Fraction(2))


def test_last_part_is_encoded_on_all_cores(
    client: FlaskClient,
    auth: Auth,
    settings: Settings,
    runtime: Runtime,
    site: str,
    sample: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker_server.settings.usable_cores", lambda: 3)
    shared = settings.model_copy(update={"render_concurrency": 3})
    url = f"{site}/{sample(4)}"
    task = _journey(client, auth, shared, runtime, url, {"part_seconds": 2})
    threads = []
    for part in task["parts"]:
        with client.get(part["link"], headers=auth()) as clip:
            threads += _X264_THREADS.findall(clip.data)
    assert threads == [b"1", b"3"]  # the first was claimed while the second one waited


def test_edit_that_cannot_apply_fails_before_anything_is_rendered(
    client: FlaskClient,
    auth: Auth,
    settings: Settings,
    runtime: Runtime,
    site: str,
    sample: Callable[..., str],
) -> None:
    segments = [_segment(0, 2), _segment(99, 100)]
    url = f"{site}/{sample(10)}"
    task = _journey(client, auth, settings, runtime, url, {"segments": segments})
    assert (task["status"], task["parts"], task["attempt"]) == ("failed", [], 1)
    assert task["error"]["code"] == "edit_beyond_end"
    assert "99 s" in task["error"]["message"]
