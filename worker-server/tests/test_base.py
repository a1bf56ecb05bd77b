"""What all jobs share: pauses, whose fault a failure is, and internal faults in `/ready`."""

import pytest
from flask import Flask

from worker_server.errors import WorkFailed
from worker_server.jobs.base import perform
from worker_server.jobs.fetch import fetch_next
from worker_server.jobs.heartbeat import Heartbeat
from worker_server.jobs.render import render_next
from worker_server.jobs.runtime import Runtime
from worker_server.queue import claims, workers
from worker_server.settings import Settings
from worker_testing import claim_task, expire_leases, parts_of, processing, submit, task_of

pytestmark = pytest.mark.usefixtures("no_wakeups", "lasting_heartbeats", "app")


def test_paused_work_is_not_claimed(app: Flask, settings: Settings, runtime: Runtime) -> None:
    run = app.test_cli_runner().invoke
    task_id = submit()
    shown = run(args=["work", "pause", "fetch"])
    assert shown.output.splitlines() == [
        "fetch   paused   1 waiting, 0 running",
        "render  running  0 waiting, 0 running",
    ]
    assert not fetch_next(settings, runtime)
    assert task_of(task_id).attempt == 0
    assert "paused" not in run(args=["work", "resume"]).output
    claim_task()
    drained = run(args=["work", "drain", "fetch", "--timeout-s", "0"])
    assert drained.exit_code == 1
    assert "paused   0 waiting, 1 running" in drained.output


def test_paused_renders_are_not_claimed(app: Flask, settings: Settings, runtime: Runtime) -> None:
    processing(parts=1)
    app.test_cli_runner().invoke(args=["work", "pause"])
    assert not render_next(settings, runtime)
    drained = app.test_cli_runner().invoke(args=["work", "drain"])
    assert (drained.exit_code, drained.output.count("paused")) == (0, 2)


def attempt(settings: Settings, runtime: Runtime, error: Exception | None) -> None:
    """Let one attempt end with the error."""

    def work(_: Heartbeat) -> None:
        if error is not None:
            raise error

    expire_leases()
    claim = claims.claim_task("me", 30)
    assert claim is not None
    perform(claim, settings, runtime, work)


@pytest.mark.parametrize(
    "error",
    [
        WorkFailed("source_damaged", "A child met an unreadable file."),
        WorkFailed("encoder_failed", "An encoder could not read.", retryable=True),
        OSError(5, "Input/output error"),
        FileNotFoundError(2, "No such file or directory"),
    ],
)
def test_nothing_is_blamed_on_the_source_while_the_share_is_unavailable(
    settings: Settings, runtime: Runtime, error: Exception
) -> None:
    task_id = submit()
    marker = settings.remote_folder / ".idrl-share"
    marker.unlink()
    for _ in range(settings.max_attempts + 1):
        attempt(settings, runtime, error)
    task = task_of(task_id)
    assert (task.status, task.failures, task.error_code) == ("queued", 0, "storage_unavailable")


def test_source_is_blamed_while_the_share_is_good(settings: Settings, runtime: Runtime) -> None:
    task_id = submit()
    attempt(settings, runtime, WorkFailed("source_damaged", "broken"))
    assert (task_of(task_id).status, task_of(task_id).error_code) == ("failed", "source_damaged")


def test_internal_fault_is_reported_until_work_succeeds(
    settings: Settings, runtime: Runtime
) -> None:
    workers.record_heartbeat(runtime.worker_name, ["fetch"])
    task_id = submit()
    attempt(settings, runtime, ZeroDivisionError())
    assert workers.liveness().faults == {runtime.worker_name: "internal_error"}
    assert task_of(task_id).status == "queued"
    attempt(settings, runtime, None)
    assert workers.liveness().faults == {}


@pytest.mark.parametrize(
    ("share_has_space", "code"), [(True, "internal_error"), (False, "storage_full")]
)
def test_storage_full_names_the_disk_that_is_full(
    settings: Settings, runtime: Runtime, share_has_space: bool, code: str
) -> None:
    task_id = processing(parts=1)
    claim = claims.claim_part("me", 30)
    assert claim is not None
    reserve_bytes = 0 if share_has_space else 2**62
    error = WorkFailed("storage_full", "There is no room for the clip.", retryable=True)

    def work(_: Heartbeat) -> None:
        raise error

    perform(
        claim, settings.model_copy(update={"storage_reserve_bytes": reserve_bytes}), runtime, work
    )
    part = parts_of(task_id)[0]
    assert (part.status, part.failures, part.error_code) == ("waiting", 0, code)
