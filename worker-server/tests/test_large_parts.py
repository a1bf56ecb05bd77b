"""Parts of pictures larger than 4K, rendered one at a time on a machine, hold up no others."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from worker_server.db import db
from worker_server.jobs.fetch import fetch_next
from worker_server.jobs.large_picture_lock import one_at_a_time
from worker_server.jobs.render import render_next
from worker_server.jobs.runtime import Runtime
from worker_server.media import Source, probe
from worker_server.queue.preemption import preempt_render
from worker_server.settings import Settings
from worker_testing import claim_part, parts_of, processing, submit, task_of, waiting_wakeups

pytestmark = pytest.mark.usefixtures("no_wakeups", "app")
Sample = Callable[..., str]
SIZES = {"landscape": (5312, 2988), "upright": (2988, 5312)}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"render_preset": "ultrafast", "lease_s": 5.0})


@pytest.fixture
def large_source(site_folder: Path, sample: Sample) -> Source:
    return replace(probe(site_folder / sample(2)), width=5312, height=2988)


def large_task(owner_id: int = 1, size: tuple[int, int] = (5312, 2988)) -> uuid.UUID:
    """Return a task of an action camera's video, with two parts to render."""
    task_id = processing(2, owner_id)
    facts = f"jsonb_build_object('width', {size[0]}, 'height', {size[1]})"
    db.session.execute(text(f"UPDATE tasks SET source = {facts} WHERE id = '{task_id}'"))
    db.session.commit()
    return task_id


@pytest.mark.parametrize("size", SIZES.values(), ids=list(SIZES))
def test_render_process_takes_other_parts_while_large_pictures_are_decoded(
    settings: Settings,
    site: str,
    sample: Sample,
    runtime: Runtime,
    large_source: Source,
    size: tuple[int, int],
) -> None:
    large = large_task(size=size)
    small = submit(f"{site}/{sample(2)}")
    assert fetch_next(settings, runtime)
    with one_at_a_time(large_source, settings.scratch_folder, lambda: False):
        assert render_next(settings, runtime)
        assert not render_next(settings, runtime)
    assert task_of(small).status == "done"
    assert [part.attempt for part in parts_of(large)] == [0, 0]
    assert render_next(settings, runtime)
    assert [part.attempt for part in parts_of(large)] == [1, 0]


def test_next_large_part_is_woken_up_as_soon_as_one_is_encoded(
    settings: Settings, site: str, site_folder: Path, ffmpeg: Callable[..., None], runtime: Runtime
) -> None:
    """The wake-ups for it may have gone to processes that had to leave it out."""
    picture = "testsrc2=s=4112x32:r=5:d=2"
    ffmpeg("-f", "lavfi", "-i", picture, "-c:v", "mjpeg", str(site_folder / "wide.mov"))
    task_id = submit(f"{site}/wide.mov")
    assert fetch_next(settings, runtime)
    assert waiting_wakeups(settings, "render") == 1
    assert render_next(settings, runtime)
    assert task_of(task_id).status == "done"
    assert waiting_wakeups(settings, "render") == 2


def test_nothing_is_preempted_for_a_large_part_while_one_is_rendered() -> None:
    """The render process that it frees would leave the large part out."""
    for owner_id in (1, 1, 1):
        processing(1, owner_id)
        claim_part()
    large_task(owner_id=2)
    claim_part()
    waiting = large_task(owner_id=3)
    db.session.execute(text("UPDATE parts SET run_after = 'epoch', created_at = 'epoch'"))
    db.session.commit()
    assert preempt_render() is None
    db.session.execute(text(f"UPDATE tasks SET source = '{{}}' WHERE id = '{waiting}'"))
    db.session.commit()
    assert preempt_render() is not None
