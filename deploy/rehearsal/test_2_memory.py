"""Two renders of 1080p at once on a 2 GiB worker machine: nothing is killed for memory."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import expected
import pytest
from rehearsal.machine import Vm
from rehearsal.system import System

from idrl_testing.api_client import PatientApiClient

END_S = 600
ENCODERS = "pgrep --full --count 'ffmpeg.*libx264' || true"
KILLED = "dmesg | grep --count --ignore-case -E 'out of memory|oom-kill' || true"
KILLED_CONTAINERS = "docker ps -aq | xargs docker inspect --format '{{.State.OOMKilled}}'"


@dataclass
class Memory:
    """What a machine had left at its worst moment, in MiB, and how many encoders it ran at best."""

    available_mib: int = 1 << 20
    swapped_mib: int = 0
    encoders: int = 0

    def sample(self, vm: Vm) -> None:
        found = re.findall(r"(\w+): +(\d+) kB", vm.ssh("cat /proc/meminfo"))
        mib = {name: int(value) // 1024 for name, value in found}
        self.available_mib = min(self.available_mib, mib["MemAvailable"])
        self.swapped_mib = max(self.swapped_mib, mib["SwapTotal"] - mib["SwapFree"])
        self.encoders = max(self.encoders, int(vm.ssh(ENCODERS)))


@pytest.fixture
def two_at_once(system: System) -> Iterator[None]:
    """The first worker renders two parts at once, as one with two processors does."""
    variables = system.attributes[expected.WORKER_1.name]
    before = variables["idrl-settings"]
    variables["idrl-settings"] = before.replace("RENDER_CONCURRENCY=1", "RENDER_CONCURRENCY=2")
    system.worker.ssh("startup-script --wait", 600)
    yield
    variables["idrl-settings"] = before
    system.worker.ssh("startup-script --wait", 600)


@pytest.mark.usefixtures("two_at_once")
def test_two_renders_of_1080p_fit(system: System, person: PatientApiClient, videos: str) -> None:
    worker, memory = system.worker, Memory()
    assert worker.ssh("swapon --show=SIZE --noheadings --bytes").strip() == str(
        2048 * 1024**2 - 4096
    )
    task_id = person.submit(f"{videos}/large.mp4")["task_id"]
    deadline = time.monotonic() + END_S
    while (task := person.task(task_id))["status"] not in ("done", "failed"):
        assert time.monotonic() < deadline, task
        memory.sample(worker)
    print(f"two renders of 1080p on {worker.machine.memory_mib} MiB: {memory}")
    assert task["status"] == "done", task
    assert memory.encoders >= 2, memory
    assert worker.ssh(KILLED).strip() == "0"
    assert set(worker.ssh(KILLED_CONTAINERS).split()) == {"false"}
    # Each part was rendered at its first try.
    assert [part["attempt"] for part in task["parts"]] == [1] * expected.VIDEOS["large"].parts
