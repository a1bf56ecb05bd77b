"""The work as plain functions, without Celery: what a worker does once it is woken."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from idrl_testing.database import Database
from idrl_testing.waiting import LIMIT_S, wait_until
from worker_server import storage
from worker_server.db import db
from worker_server.fetching import FetchFailed
from worker_server.jobs.failures import failure_of
from worker_server.jobs.fetch import fetch_next
from worker_server.jobs.heartbeat import Heartbeat, StopReason
from worker_server.jobs.render import render_next
from worker_server.jobs.runtime import Runtime
from worker_server.media import ClipRejected, EncodeFailed, SourceError
from worker_server.queue import cancellation, claims, workers
from worker_server.settings import Settings
from worker_testing import expire_leases, files, parts_of, submit, task_of, waiting_wakeups

pytestmark = pytest.mark.usefixtures("no_wakeups", "lasting_heartbeats", "app")
Sample = Callable[..., str]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"render_preset": "ultrafast", "lease_s": 5.0})


def test_a_task_from_its_link_to_its_clips(
    settings: Settings, site: str, sample: Sample, runtime: Runtime
) -> None:
    task_id = submit(f"{site}/{sample(25)}")
    assert fetch_next(settings, runtime)
    assert task_of(task_id).status == "processing"
    assert files(settings, task_id) == {"source.1"}
    assert waiting_wakeups(settings, "render") == 2
    assert render_next(settings, runtime)
    assert files(settings, task_id) == {"source.1", "0.1.mp4", "0.1.jpg"}
    assert render_next(settings, runtime)
    assert task_of(task_id).status == "done"
    assert files(settings, task_id) == {"0.1.mp4", "0.1.jpg", "1.1.mp4", "1.1.jpg"}
    assert list(settings.scratch_folder.iterdir()) == []


def test_long_task_is_preempted_for_a_new_task(
    settings: Settings, site: str, sample: Sample, runtime: Runtime
) -> None:
    long_video = submit(f"{site}/{sample(65)}")
    assert fetch_next(settings, runtime)
    for _ in range(2):
        assert claims.claim_part("another", LIMIT_S)
    clip = submit(f"{site}/{sample(2)}", owner_id=2)
    assert fetch_next(settings, runtime)
    assert [part.status for part in parts_of(long_video)] == [
        "rendering",
        "waiting",
        "waiting",
        "waiting",
    ]
    # Its parts, the clip, and the part that waits again.
    assert waiting_wakeups(settings, "render") == 4 + 1 + 1
    row = claims.claim_part("another", 30)
    assert row is not None
    assert row.lease.task_id == clip


def test_nothing_is_preempted_for_a_download_that_has_filled_the_share(
    settings: Settings,
    site: str,
    sample: Sample,
    runtime: Runtime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Workers claim nothing then: a preemption would discard work and free no slot."""
    long_video = submit(f"{site}/{sample(65)}")
    assert fetch_next(settings, runtime)
    for _ in range(2):
        assert claims.claim_part("another", LIMIT_S)
    submit(f"{site}/{sample(2)}", owner_id=2)
    free_bytes = iter([settings.storage_reserve_bytes])  # when the task is claimed
    monkeypatch.setattr(storage, "_free_bytes", lambda _: next(free_bytes, 0))
    assert fetch_next(settings, runtime)
    statuses = [part.status for part in parts_of(long_video)]
    assert statuses == ["rendering", "rendering", "waiting", "waiting"]


def test_container_without_an_index_is_remuxed_first(
    settings: Settings, site: str, site_folder: Path, ffmpeg: Callable[..., None], runtime: Runtime
) -> None:
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=320x180:r=10:d=3",
        "-c:v",
        "libx264",
        str(site_folder / "stream.ts"),
    )
    task_id = submit(f"{site}/stream.ts")
    assert fetch_next(settings, runtime)
    assert files(settings, task_id) == {"source.1.remuxed"}
    assert render_next(settings, runtime)
    assert task_of(task_id).status == "done"
    assert [part.frames for part in parts_of(task_id)] == [50]


FIT = (
    "-c:v libx264 -preset ultrafast -pix_fmt yuv420p"
    " -colorspace bt709 -color_primaries bt709 -color_trc bt709"
)


@pytest.fixture
def fit(site: str, site_folder: Path, ffmpeg: Callable[..., None]) -> Callable[[int], str]:
    """Make a copyable video with this distance of key frames in frames, and return its link."""

    def make(key_frames: int) -> str:
        name = f"fit-{key_frames}.mp4"
        encoding = [*FIT.split(), "-g", str(key_frames), "-sc_threshold", "0"]
        ffmpeg(
            "-f",
            "lavfi",
            "-i",
            "testsrc2=s=320x180:r=25:d=3",
            *encoding,
            "-y",
            str(site_folder / name),
        )
        return f"{site}/{name}"

    return make


@pytest.mark.parametrize(
    ("changes", "rendered_by"),
    [({}, "copy"), ({"render_copy": False}, "encode"), ({"render_engine": "moviepy"}, "encode")],
)
def test_fit_pictures_are_copied_unless_settings_forbid_it(
    settings: Settings,
    fit: Callable[[int], str],
    changes: dict[str, object],
    rendered_by: str,
    runtime: Runtime,
) -> None:
    task_id = submit(fit(10))
    assert fetch_next(settings, runtime)
    assert render_next(settings.model_copy(update=changes), runtime)
    (part,) = parts_of(task_id)
    assert (part.status, part.frames, part.rendered_by) == ("done", 125, rendered_by)


def test_part_that_cannot_be_copied_is_encoded_in_the_same_attempt(
    settings: Settings, fit: Callable[[int], str], runtime: Runtime
) -> None:
    settings = settings.model_copy(update={"part_seconds": 1})
    task_id = submit(fit(1000))
    assert fetch_next(settings, runtime)
    for _ in range(3):
        assert render_next(settings, runtime)
    parts = parts_of(task_id)
    assert [part.rendered_by for part in parts] == ["copy", "encode", "encode"]
    assert {(part.status, part.attempt, part.failures, part.frames) for part in parts} == {
        ("done", 1, 0, 75)
    }
    assert list(settings.scratch_folder.iterdir()) == []


def test_part_counts_concealed_frames(
    settings: Settings, runtime: Runtime, site: str, site_folder: Path, ffmpeg: Callable[..., None]
) -> None:
    whole, damaged = str(site_folder / "whole.mp4"), str(site_folder / "damaged.mp4")
    picture = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=2"]
    ffmpeg(*picture, "-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-y", whole)
    ffmpeg("-i", whole, "-c", "copy", "-bsf:v", "noise=amount=eq(n\\,25)*40", "-y", damaged)
    task_id = submit(f"{site}/damaged.mp4")
    assert fetch_next(settings, runtime)
    assert render_next(settings, runtime)
    (part,) = parts_of(task_id)
    assert (part.status, part.frames, part.concealed_frames) == ("done", 100, 1)


def test_nothing_is_claimed_from_an_empty_queue(settings: Settings, runtime: Runtime) -> None:
    assert not fetch_next(settings, runtime)
    assert not render_next(settings, runtime)


def test_no_work_is_claimed_without_the_share(
    settings: Settings, site: str, sample: Sample, runtime: Runtime
) -> None:
    task_id = submit(f"{site}/{sample(2)}")
    (settings.remote_folder / storage.MARKER).unlink()
    assert not fetch_next(settings, runtime)
    assert not render_next(settings, runtime)
    assert task_of(task_id).attempt == 0


def test_internal_error_is_retried_and_never_fails_the_task(
    settings: Settings, site: str, sample: Sample, runtime: Runtime
) -> None:
    task_id = submit(f"{site}/{sample(2)}")
    broken = settings.model_copy(update={"part_seconds": "twenty"})
    for _ in range(settings.max_attempts + 1):
        expire_leases()
        assert fetch_next(broken, runtime)
        task = task_of(task_id)
        assert (task.status, task.failures, task.error_code) == ("queued", 0, "internal_error")
    expire_leases()
    assert fetch_next(settings, runtime)
    assert task_of(task_id).status == "processing"


def test_unusable_scratch_folder_is_an_internal_fault(
    settings: Settings, site: str, sample: Sample, runtime: Runtime
) -> None:
    task_id = submit(f"{site}/{sample(2)}")
    assert fetch_next(settings, runtime)
    workers.record_heartbeat(runtime.worker_name, ["render"])
    settings.scratch_folder.write_bytes(b"")  # a file: no folder for root either
    for _ in range(settings.max_attempts + 1):
        expire_leases()
        assert render_next(settings, runtime)
        part = parts_of(task_id)[0]
        assert (part.status, part.failures, part.error_code) == ("waiting", 0, "internal_error")
    assert workers.liveness().faults == {runtime.worker_name: "internal_error"}
    settings.scratch_folder.unlink()
    expire_leases()
    assert render_next(settings, runtime)
    assert task_of(task_id).status == "done"
    assert workers.liveness().faults == {}


@pytest.mark.parametrize(
    ("error", "code", "retryable", "counted"),
    [
        (OSError(errno.ENOSPC, "full"), "storage_full", True, False),
        (OSError(errno.EDQUOT, "full"), "storage_full", True, False),
        (OSError(errno.EIO, "broken"), "storage_unavailable", True, False),
        (OSError(errno.EACCES, "", "/share/tasks/1"), "storage_unavailable", True, False),
        (OSError(errno.EACCES, "", Path("/scratch/1.x")), "internal_error", True, False),
        (OSError(errno.ENOSPC, "", "/scratch/1.x"), "internal_error", True, False),
        (OSError(errno.ENOENT, "", "/usr/bin/ffmpeg"), "internal_error", True, False),
        (OSError(errno.EMFILE, "", "/share/tasks/1"), "internal_error", True, False),
        (BlockingIOError(errno.EAGAIN, "no process"), "internal_error", True, False),
        (FetchFailed("source_not_found", "gone"), "source_not_found", False, True),
        (FetchFailed("storage_full", "full", retryable=True), "storage_full", True, False),
        (SourceError("source_damaged", "broken"), "source_damaged", False, True),
        (EncodeFailed("encoder_killed", "killed", retryable=True), "encoder_killed", True, True),
        (EncodeFailed("source_damaged", "broken", retryable=False), "source_damaged", False, True),
        (ClipRejected("frames is 74"), "clip_rejected", True, True),
        (ZeroDivisionError(), "internal_error", True, False),
    ],
)
def test_error_becomes_a_failure(
    error: Exception, code: str, retryable: bool, counted: bool
) -> None:
    failure = failure_of(error, Path("/share"))
    assert (failure.code, failure.retryable, failure.counted) == (code, retryable, counted)
    assert failure.message


def test_heartbeat_reads_a_cancel_between_two_renewals(
    app: Flask, settings: Settings, runtime: Runtime, database: Database
) -> None:
    task_id = submit("http://example.com/v.mp4")
    row = claims.claim_task("me", 30)
    assert row is not None
    rare = settings.model_copy(update={"heartbeat_s": 3600.0})
    leased = database.execute("SELECT lease_until FROM tasks")
    with Heartbeat(app, row.lease, rare, runtime.shutdown) as heartbeat:
        assert cancellation.delete_task(1, task_id) is cancellation.Deletion.CANCELING
        wait_until(heartbeat.should_stop)
    assert heartbeat.reason == StopReason.CANCELED
    assert database.execute("SELECT lease_until FROM tasks") == leased
    db.session.remove()


def test_heartbeat_survives_an_outage_of_the_database(
    app: Flask, settings: Settings, runtime: Runtime, database: Database
) -> None:
    submit("http://example.com/v.mp4")
    row = claims.claim_task("me", 30)
    assert row is not None
    with Heartbeat(app, row.lease, settings, runtime.shutdown) as heartbeat:
        heartbeat.report(0.25)
        database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'worker'"
        )
        heartbeat.report(0.5)
        wait_until(lambda: database.execute("SELECT progress FROM tasks") == [(50,)])
        assert not heartbeat.should_stop()
    db.session.remove()
