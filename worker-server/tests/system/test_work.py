"""The main job, by real workers: a link becomes clips; anything else, a clear error."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from worker_server import storage
from worker_server.api import services

if TYPE_CHECKING:
    from system.conftest import System, Workers

    from worker_server.settings import Settings

Sample = Callable[..., str]


@pytest.fixture
def settings(settings: "Settings") -> "Settings":
    """Leases that no worker loses here, however little of the processor it gets."""
    return settings.model_copy(update={"lease_s": 120.0})


@pytest.fixture(autouse=True)
def running(workers: "Workers") -> None:
    workers.start()
    workers.start_sweeper()


def test_clips_are_made_of_a_url(system: "System", site: str, sample: Sample) -> None:
    task_id = system.post(f"{site}/{sample(45)}")
    task = system.wait_for(task_id, "done")
    parts = system.parts(task_id)
    assert [(part.start_s, part.end_s, part.frames) for part in parts] == [
        (0, 20, 220),
        (20, 40, 220),
        (40, 45, 70),
    ]
    assert all(
        system.settings.remote_folder.joinpath(part.path or "").stat().st_size for part in parts
    )
    published = {f"{number}.1.{kind}" for number in range(3) for kind in ("mp4", "jpg")}
    system.wait(lambda: system.files(task_id) == published)
    assert task.source is not None
    assert (task.source["width"], task.attempt, task.failures) == (320, 1, 0)
    system.wait(lambda: not system.scratch())
    system.wait(lambda: system.encoders() == [])


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("missing.mp4", None, "source_not_found"),
        ("page.mp4", b"<!doctype html><title>Sign in</title>", "source_is_a_web_page"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "source_not_a_video"),
        ("empty.mp4", b"", "source_empty"),
        ("noise.mp4", bytes(range(256)) * 100, "source_not_a_video"),
    ],
)
def test_a_bad_source_fails_with_its_code(
    system: "System", site: str, site_folder: Path, name: str, content: bytes | None, code: str
) -> None:
    if content is not None:
        (site_folder / name).write_bytes(content)
    task_id = system.post(f"{site}/{name}")
    task = system.wait_for(task_id, "failed")
    assert task.error_code == code
    assert task.error_message
    system.wait(lambda: system.files(task_id) == set())


def test_a_private_address_is_never_called(system: "System") -> None:
    task_id = system.post("http://127.0.0.2/v.mp4")
    assert system.wait_for(task_id, "failed").error_code == "url_private_address"


def test_delete_ends_the_encoder_and_removes_the_files(
    system: "System", site: str, sample: Sample
) -> None:
    task_id = system.post(f"{site}/{sample(20, size='1280x720', rate=30)}")
    system.wait(system.encoders)
    assert services.delete_task(1, task_id) == "canceling"
    system.wait_for(task_id, "canceled")
    system.wait(lambda: system.encoders() == [])
    system.wait(lambda: system.files(task_id) == set() and not system.scratch())


def test_no_work_is_taken_while_the_share_is_unavailable(
    system: "System", site: str, sample: Sample
) -> None:
    marker = system.settings.remote_folder / storage.MARKER
    marker.unlink()
    task_id = system.post(f"{site}/{sample(2)}")
    with pytest.raises(AssertionError, match="in time"):
        system.wait(lambda: system.task(task_id).attempt, timeout_s=3)
    marker.touch()
    system.wait_for(task_id, "done")
