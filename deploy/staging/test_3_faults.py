"""What only real machines suffer, in mid-work: tasks end as done, each clip is there once.

The tests follow each other: the second worker machine joins in one of them and stays.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import expected
import pytest
import requests
from staging.machine import Vm
from staging.system import System
from test_1_machines import assert_only_allowed, containers, probe

from idrl_testing.api_client import RetryingApiClient
from idrl_testing.waiting import wait_until

CUT_S = 60
END_S = 900
Task = dict[str, Any]


@contextmanager
def rendering(system: System, person: RetryingApiClient, videos: str) -> Iterator[Task]:
    """Yield a task with its first clip done only; in the end all are, each made once."""
    task_id = person.submit(f"{videos}/long.mp4")["task_id"]
    before = person.wait_for(task_id, lambda task: bool(task["parts_done"]), END_S)
    assert before["status"] == "processing"
    yield before
    after = person.finish(task_id, END_S)
    assert_done_clips_unchanged(before, after)
    assert_each_clip_once(system, after, "long")


def assert_each_clip_once(system: System, task: Task, video: str) -> None:
    """Check that the task is done, and that the API, the database and the disk agree."""
    assert task["status"] == "done", task
    parts = task["parts"]
    assert [part["number"] for part in parts] == list(range(expected.VIDEOS[video].parts))
    promised = {f"{part['number']}.{part['attempt']}.mp4": part["sha256"] for part in parts}
    assert system.files(task["task_id"]) == promised
    rows = system.database.rows(
        "SELECT number, attempt, sha256 FROM parts WHERE task_id = %s AND status = 'done'",
        task["task_id"],
    )
    assert {f"{number}.{attempt}.mp4": sha256 for number, attempt, sha256 in rows} == promised
    assert len(rows) == len(parts)


def assert_done_clips_unchanged(before: Task, after: Task) -> None:
    """Assert that clips that were done before the fault were not rendered again."""
    kept = ("number", "attempt", "sha256", "size_bytes")
    done = [[part[key] for key in kept] for part in before["parts"] if part["status"] == "done"]
    assert done
    assert [
        part for part in ([each[key] for key in kept] for each in after["parts"]) if part in done
    ] == done


def ended_parts(vm: Vm) -> set[tuple[str, int]]:
    """Return the parts that this machine has rendered to the end, as its log tells."""
    container = vm.ssh(
        "docker ps --quiet --filter label=com.docker.compose.service=worker-render"
    ).strip()
    logged = (
        json.loads(line)
        for line in vm.ssh(f"docker logs {container} 2>&1 | grep '^{{'").splitlines()
    )
    return {(line["task_id"], line["part"]) for line in logged if line["message"] == "job ends"}


@contextmanager
def paused_rendering(system: System) -> Iterator[None]:
    """Let no worker claim a part while the block runs."""
    work = f"docker exec {containers(system.worker)['tasks']} flask --app worker_server.wsgi work"
    system.worker.ssh(f"{work} pause render")
    try:
        yield
    finally:
        system.worker.ssh(f"{work} resume render")


def test_file_machine_dies(system: System, person: RetryingApiClient, videos: str) -> None:
    """Killed mid-render and booted again: the mount waits, and nothing done is lost."""
    with rendering(system, person, videos):
        system.file.kill()
        system.boot(expected.FILE)


def test_web_and_worker_are_cut_off(system: System, person: RetryingApiClient, videos: str) -> None:
    """For a minute the gateway reports the fault; workers go on, and callers keep their task."""
    headers = {"Authorization": f"Bearer {person.token}"}
    with (
        rendering(system, person, videos) as before,
        system.network.cut(expected.WEB, expected.WORKER_1),
    ):
        until = time.monotonic() + CUT_S
        while time.monotonic() < until:
            # A connection that was open before waits for its answer as long as the gateway does.
            answer = requests.get(
                f"{system.url}/tasks/{before['task_id']}", headers=headers, timeout=60
            )
            answered = (answer.status_code, answer.json()["code"])
            assert answered in ((502, "tasks_unavailable"), (504, "tasks_timeout")), answer.text
            assert requests.get(f"{system.url}/health", timeout=10).status_code == 200


def test_worker_and_file_machine_are_cut_off(
    system: System, person: RetryingApiClient, videos: str
) -> None:
    """For a minute no clip can be published, none is lost; the hard mount recovers by itself."""
    with (
        rendering(system, person, videos) as before,
        system.network.cut(expected.WORKER_1, expected.FILE),
    ):
        started = time.monotonic()
        assert probe(system, "worker-1")["file"]["2049"] == "silence"
        # The network stays cut for a fixed time: there is no event to wait for.
        time.sleep(max(0, CUT_S - (time.monotonic() - started)))
        assert person.task(before["task_id"])["status"] == "processing"


def _posted(person: RetryingApiClient, videos: str) -> tuple[int, str | None]:
    """Post a task; return the status and the code of the response."""
    response = person.call("POST", "/tasks", json={"url": f"{videos}/short.mp4"})
    return response.status_code, response.json().get("code")


def test_share_is_full(system: System, person: RetryingApiClient, videos: str) -> None:
    """A full share is no failure: no task is accepted until there is space, then all are."""
    filler = "/var/nfs/shared_folder/filler"
    system.file.ssh(
        "fallocate -l $(df --output=avail -B1 /var/nfs/shared_folder | tail -n 1)"
        f" {filler} && sync {filler}"
    )
    try:
        wait_until(lambda: _posted(person, videos) == (503, "storage_full"), 90, poll_s=2)
    finally:
        system.file.ssh(f"rm {filler}")
    wait_until(lambda: _posted(person, videos)[0] == 202, 90, poll_s=2)
    task_id = person.get("/tasks?max=1").json()[0]["task_id"]
    assert_each_clip_once(system, person.finish(task_id), "short")


def test_second_worker_machine_joins(
    system: System, person: RetryingApiClient, videos: str
) -> None:
    """It takes parts of tasks that were posted before it was there."""
    # Paused, or the first machine might be done before the second one has booted.
    with paused_rendering(system):
        posted = [person.submit(f"{videos}/long.mp4")["task_id"] for _ in range(3)]
        system.boot(expected.WORKER_2)
    for task_id in posted:
        assert_each_clip_once(system, person.finish(task_id, END_S), "long")
    both = {
        vm.name: {part for part in ended_parts(vm) if part[0] in posted}
        for vm in (system.worker, system.vms["worker-2"])
    }
    assert both["worker-2"], both
    assert not both["worker-1"] & both["worker-2"]
    assert len(both["worker-1"] | both["worker-2"]) == 3 * expected.VIDEOS["long"].parts


def test_worker_machines_reach_only_what_they_may(system: System) -> None:
    """Now that there are two of them."""
    for origin in ("worker-1", "worker-2", "web", "file"):
        assert_only_allowed(system, origin)


@pytest.mark.parametrize("name", ["worker-2", "worker-1"])
def test_worker_machine_dies(
    system: System, person: RetryingApiClient, videos: str, name: str
) -> None:
    """The other one takes over once the leases end; the first one, with Redis, boots again."""
    with rendering(system, person, videos):
        system.vms[name].kill()
        if name == expected.WORKER_1.name:
            system.boot(expected.WORKER_1)


def test_all_machines_are_booted_again(
    system: System, person: RetryingApiClient, videos: str
) -> None:
    """All machines lose power at once: all recovers without help, nothing partial is left."""
    # The file machine last: while the share is unavailable, the machines that mount it hang.
    for vm in sorted(system.vms.values(), key=lambda vm: vm is system.file):
        vm.shut_down()
    system.boot(*(vm.machine for vm in system.vms.values()))
    wait_until(
        lambda: (
            requests.get(f"{system.url}/ready", timeout=10).ok
            and system.failing_checks() == expected.FAILING_CHECKS
        ),
        60,
    )
    for vm in system.vms.values():
        units = sorted(vm.machine.units)
        assert vm.ssh(f"systemctl is-active {' '.join(units)} || true").split() == ["active"] * len(
            units
        )
    task_id = person.submit(f"{videos}/short.mp4")["task_id"]
    assert_each_clip_once(system, person.finish(task_id), "short")
    assert system.file.ssh("find /var/nfs/shared_folder -name '.*.tmp'") == ""
