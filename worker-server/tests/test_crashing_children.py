"""A crash of a media child: the video's where the worker's self-test passes, else the worker's."""

import logging
import subprocess
import uuid
from collections.abc import Callable

import pytest

from worker_server.brand_drafts import BrandsBusy
from worker_server.brand_making import draw_preview
from worker_server.jobs.fetch import fetch_next
from worker_server.jobs.render import render_next
from worker_server.jobs.runtime import Runtime
from worker_server.media.branding import preview
from worker_server.media.process import child
from worker_server.models import Brand
from worker_server.queue import workers
from worker_server.settings import Settings
from worker_testing import expire_leases, files, parts_of, submit, task_of

pytestmark = pytest.mark.usefixtures("no_wakeups", "lasting_heartbeats", "app")
Sample = Callable[..., str]
RunInstead = Callable[[str, str], None]

PROBE = "worker_server.media.probing.probe_child"
# The real probe child, whose `read_facts` crashes on videos longer than 1.5 s.
CRASHING = f"""
import os, signal
from {PROBE} import read_facts, reply, serve_one_request
import {PROBE} as probe_child

def read_or_crash(*arguments):
    source = read_facts(*arguments)
    if source.duration_s > 1.5:
        os.kill(os.getpid(), signal.SIGSEGV)
    return source

probe_child.read_facts = read_or_crash
serve_one_request(reply)
"""
VERIFY = "worker_server.media.verifying.verify_child"
CRASHING_VERIFIER = f"""
import os, signal
from {VERIFY} import facts_of, reply, serve_one_request
import {VERIFY} as verify_child

def facts_or_crash(path, edit, damaged):
    if edit.source.duration_s > 1.5:
        os.kill(os.getpid(), signal.SIGABRT)
    return facts_of(path, edit, damaged)

verify_child.facts_of = facts_or_crash
serve_one_request(reply)
"""
KILLED_VERIFIER = CRASHING_VERIFIER.replace("SIGABRT", "SIGKILL")
BROKEN = "import no_such_library"


@pytest.fixture
def run_instead(monkeypatch: pytest.MonkeyPatch) -> RunInstead:
    """Let the child of a module run another program."""
    popen = child._popen

    def replace(module: str, program: str) -> None:
        def started(arguments: list[str], *rest: object) -> "subprocess.Popen[bytes]":
            if arguments[-2:] == ["-m", module]:
                arguments = [*arguments[:-2], "-c", program]
            return popen(arguments, *rest)  # type: ignore[arg-type] # the same

        monkeypatch.setattr(child, "_popen", started)

    return replace


def test_video_that_crashes_the_decoder_fails_at_the_second_attempt(
    settings: Settings,
    site: str,
    sample: Sample,
    runtime: Runtime,
    run_instead: RunInstead,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run_instead(PROBE, CRASHING)
    poison, good = submit(f"{site}/{sample(2)}"), submit(f"{site}/{sample(1)}")
    with caplog.at_level(logging.WARNING):
        assert fetch_next(settings, runtime)
    task = task_of(poison)
    assert (task.status, task.failures, task.error_code) == ("queued", 1, "decoder_crashed")
    [record] = [record for record in caplog.records if record.message == "job failed"]
    assert "exit status -11" in record.detail  # type: ignore[attr-defined] # from `extra`
    assert "read_or_crash" in record.detail  # type: ignore[attr-defined] # from `extra`
    expire_leases()
    assert fetch_next(settings, runtime)
    assert fetch_next(settings, runtime)
    task = task_of(poison)
    assert (task.status, task.failures, task.error_code) == ("failed", 2, "decoder_crashed")
    assert files(settings, poison) == set()
    assert task_of(good).status == "processing"


def attempted(
    settings: Settings, runtime: Runtime, task_id: uuid.UUID
) -> tuple[str, int, str | None]:
    """Render the task's only part once more; return its status, failures and error code."""
    expire_leases()
    assert render_next(settings, runtime)
    [part] = parts_of(task_id)
    return part.status, part.failures, part.error_code


def test_part_that_crashes_verification_fails_at_the_second_attempt(
    settings: Settings, site: str, sample: Sample, runtime: Runtime, run_instead: RunInstead
) -> None:
    run_instead(VERIFY, CRASHING_VERIFIER)
    task_id = submit(f"{site}/{sample(2)}")
    assert fetch_next(settings, runtime)
    for status, failures in (("waiting", 1), ("failed", 2)):
        assert attempted(settings, runtime, task_id) == (status, failures, "decoder_crashed")
    assert task_of(task_id).error_code == "decoder_crashed"


def test_verifier_that_is_killed_from_outside_rejects_no_clip(
    settings: Settings, site: str, sample: Sample, runtime: Runtime, run_instead: RunInstead
) -> None:
    """The machine is at fault, short of memory for example: as many attempts as for encoders."""
    run_instead(VERIFY, KILLED_VERIFIER)
    task_id = submit(f"{site}/{sample(2)}")
    assert fetch_next(settings, runtime)
    attempts = settings.max_attempts
    for failures in range(1, attempts + 1):
        status = "waiting" if failures < attempts else "failed"
        assert attempted(settings, runtime, task_id) == (status, failures, "probe_timeout")


def test_broken_worker_does_not_fail_tasks(
    settings: Settings,
    site: str,
    sample: Sample,
    runtime: Runtime,
    run_instead: RunInstead,
) -> None:
    workers.record_heartbeat(runtime.worker_name, ["fetch"])
    run_instead(PROBE, BROKEN)
    task_id = submit(f"{site}/{sample(2)}")
    for _ in range(settings.max_attempts + 1):
        expire_leases()
        assert fetch_next(settings, runtime)
        task = task_of(task_id)
        assert (task.status, task.failures, task.error_code) == ("queued", 0, "internal_error")
    assert workers.liveness().faults == {runtime.worker_name: "internal_error"}


@pytest.mark.parametrize(
    "program", ["import os; os.kill(os.getpid(), 9)", "import time; time.sleep(9)"]
)
def test_preview_whose_child_was_killed_can_be_retried(
    program: str, settings: Settings, run_instead: RunInstead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "_TIMEOUT_S", 0.5)
    run_instead("worker_server.media.branding.preview_child", program)
    brand = Brand(owner_id=1, spec={"background": "#000000"})
    with pytest.raises(BrandsBusy):
        draw_preview(brand, "16:9", settings.remote_folder)
