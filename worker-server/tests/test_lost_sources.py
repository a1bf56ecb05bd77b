"""A source whose file is gone from the share is fetched again: no task ends by that."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from worker_server import storage
from worker_server.db import db
from worker_server.jobs import fetch, render
from worker_server.jobs.fetch import fetch_next
from worker_server.jobs.render import render_next
from worker_server.jobs.runtime import Runtime
from worker_server.media import ProbeLimits, Prober
from worker_server.queue import cancellation, claims, leases
from worker_server.queue.claims import PartLease
from worker_server.queue.parts import Clip
from worker_server.queue.requeueing import fetch_again
from worker_server.queue.retry_policy import RetryLimits
from worker_server.settings import Settings
from worker_testing import claim_part, files, parts_of, processing, submit, task_of

pytestmark = pytest.mark.usefixtures("app", "no_wakeups")
Sample = Callable[..., str]
LIMITS = RetryLimits(3)


def make_tasks_due() -> None:
    db.session.execute(text("UPDATE tasks SET run_after = now()"))
    db.session.commit()


def empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("lose", [Path.unlink, empty])
def test_lost_source_is_fetched_again_and_good_clips_stay(
    settings: Settings, site: str, sample: Sample, runtime: Runtime, lose: Callable[[Path], None]
) -> None:
    task_id = submit(f"{site}/{sample(25)}")
    assert fetch_next(settings, runtime)
    assert render_next(settings, runtime)
    lose(settings.remote_folder / str(task_id) / "source.1")
    assert render_next(settings, runtime)
    task = task_of(task_id)
    assert (task.status, task.error_code, task.source_path) == ("queued", None, None)
    assert [part.status for part in parts_of(task_id)] == ["done", "waiting"]
    assert not render_next(settings, runtime)
    assert not fetch_next(settings, runtime)  # after a pause
    make_tasks_due()
    assert fetch_next(settings, runtime)
    assert render_next(settings, runtime)
    assert task_of(task_id).status == "done"
    parts = parts_of(task_id)
    assert [part.attempt for part in parts] == [1, 2]
    assert [part.failures for part in parts] == [0, 0]
    names = {"0.1.mp4", "0.1.jpg", "1.2.mp4", "1.2.jpg"}
    assert files(settings, task_id) == names


def test_source_that_cannot_be_read_is_fetched_again(
    settings: Settings, site: str, sample: Sample, runtime: Runtime
) -> None:
    """To a decoder a bad sector is a damaged video: the task failed, or a clip concealed it.

    The kernel reads no folder (EISDIR), not for root either; a bad sector gives EIO instead.
    """
    task_id = submit(f"{site}/{sample(25)}")
    assert fetch_next(settings, runtime)
    source = settings.remote_folder / str(task_id) / "source.1"
    source.unlink()
    source.mkdir()
    (source / "file").write_bytes(b"so that no file system gives the folder a size of 0")
    assert render_next(settings, runtime)
    task = task_of(task_id)
    assert (task.status, task.error_code, task.source_path) == ("queued", None, None)
    make_tasks_due()
    assert fetch_next(settings, runtime)
    assert render_next(settings, runtime)
    assert render_next(settings, runtime)
    assert task_of(task_id).status == "done"
    assert [part.failures for part in parts_of(task_id)] == [0, 0]
    assert files(settings, task_id) == {"0.2.mp4", "0.2.jpg", "1.1.mp4", "1.1.jpg"}


def test_source_that_the_share_failed_to_read_once_is_not_damaged(
    site_folder: Path, sample: Sample, tmp_path: Path
) -> None:
    """One EIO during the probe ended a task for good; here half of the file cannot be read."""
    whole = (site_folder / sample(2)).read_bytes()
    path = tmp_path / "source.1"
    path.write_bytes(whole[: len(whole) // 2])
    with Prober(ProbeLimits()) as prober:

        def recover() -> bool:
            # Once: writing empties the file first, which the second probe may be reading.
            if prober.start().returncode is not None and path.stat().st_size < len(whole):
                path.write_bytes(whole)
            return False

        assert fetch._probed(prober, path, recover).frame_count == 20


def test_readable_source_is_read_once_for_all_its_parts(tmp_path: Path, runtime: Runtime) -> None:
    """Else each part of a damaged video would read all of it."""
    source, other = tmp_path / "source.1", tmp_path / "source.2"
    source.write_bytes(b"video")
    render._check_readable(source, runtime, lambda: False)
    for path in (source, other):
        path.unlink(missing_ok=True)
        path.mkdir()
    render._check_readable(source, runtime, lambda: False)
    with pytest.raises(storage.FileUnreadable):
        render._check_readable(other, runtime, lambda: False)
    with pytest.raises(storage.FileUnreadable):
        render._check_readable(other, runtime, lambda: False)


def test_missing_source_on_an_unmounted_share_is_not_lost(
    settings: Settings,
    site: str,
    sample: Sample,
    runtime: Runtime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task_id = submit(f"{site}/{sample(2)}")
    assert fetch_next(settings, runtime)
    (settings.remote_folder / str(task_id) / "source.1").unlink()

    def refuse(_: Path) -> None:
        raise OSError(errno.ENODEV, "the share is not mounted")

    monkeypatch.setattr(storage, "require_mounted", refuse)
    assert render_next(settings, runtime)
    assert task_of(task_id).status == "processing"
    (part,) = parts_of(task_id)
    assert (part.status, part.error_code, part.failures) == ("waiting", "storage_unavailable", 0)


def test_other_parts_lose_their_leases() -> None:
    task_id = processing(parts=3)
    first, second = claim_part(), claim_part()
    assert fetch_again(first, LIMITS)
    assert leases.renew(second, 30, 0) is None
    clip = Clip(f"{task_id}/1.1.mp4", 7, "0" * 64, 600, "encode")
    assert not leases.finish_part(second, clip)
    assert [part.status for part in parts_of(task_id)] == ["waiting"] * 3
    assert claims.claim_part("me", 30) is None
    assert not fetch_again(second, LIMITS)


def test_only_the_holder_of_a_lease_on_a_live_task_has_its_source_fetched() -> None:
    task_id = processing(parts=1)
    lease = claim_part()
    assert not fetch_again(PartLease(task_id, lease.attempt - 1, 0), LIMITS)
    assert cancellation.delete_task(1, task_id) == "canceling"
    assert not fetch_again(lease, LIMITS)
    assert task_of(task_id).status == "canceling"
