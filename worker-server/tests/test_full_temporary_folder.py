"""A temporary folder in which nothing can be made: no call ends in 500, no work is lost by it.

A folder that is not there stands for one that is full: both give an OSError.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from brand_testing import Brands

from worker_server.jobs.crashes import classify_crash
from worker_server.media import MediaProcessCrashed, sandbox_report
from worker_server.media.process import sandbox
from worker_server.queue.claims import TaskLease
from worker_server.settings import Settings
from worker_testing import problem, submit

SetFolder = Callable[[Path | None], None]


@pytest.fixture
def set_folder(monkeypatch: pytest.MonkeyPatch) -> SetFolder:
    """Set the temporary folder; None is the usual one."""
    return lambda folder: monkeypatch.setattr(tempfile, "tempdir", folder and str(folder))


def test_brand_is_refused_until_there_is_space(
    brand_calls: Brands, tmp_path: Path, set_folder: SetFolder, caplog: pytest.LogCaptureFixture
) -> None:
    set_folder(tmp_path / "none")
    refused = brand_calls.post(background="#102030")
    assert problem(refused) == (503, "storage_unavailable")
    assert refused.headers["Retry-After"]
    assert str(tmp_path / "none") in caplog.text
    set_folder(None)
    assert brand_calls.post(background="#102030").status_code == 201


def test_sandbox_that_could_not_be_tried_is_tried_again(
    tmp_path: Path, set_folder: SetFolder
) -> None:
    """/ready said `NoSandbox` until the next start."""
    sandbox._measured.cache_clear()
    set_folder(tmp_path / "none")
    assert sandbox_report().level == "none"
    set_folder(None)
    assert sandbox_report().holds


@pytest.mark.usefixtures("app")
def test_crash_without_a_self_test_is_the_machines(
    settings: Settings, tmp_path: Path, set_folder: SetFolder
) -> None:
    """The job ended without an outcome, so that its lease ran out, which counts as an attempt."""
    lease = TaskLease(submit("http://example.com/v.mp4"), 1)
    crash = MediaProcessCrashed("probe", "exit status -11")
    set_folder(tmp_path / "none")
    assert classify_crash(crash, lease, settings) is crash
    set_folder(None)
    assert classify_crash(crash, lease, settings).code == "decoder_crashed"
