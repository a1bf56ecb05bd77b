"""Two renders of 1080p at once on a worker machine of 2 GiB: the kernel kills nothing."""

import json
import re
import time
from dataclasses import dataclass

import expected
from staging.machine import Vm
from staging.system import System

from idrl_testing.api_client import FINISHED, RetryingApiClient

END_S = 1200
# The kernel's own counters: processes killed for memory on the whole machine, and in each container
# the most that it held and how often a process was killed at its limit (cgroup version 1; the files
# of version 2 are memory.peak and memory.events).
COUNTERS = """
import json, pathlib, re, subprocess

def counter(file, name):
    return int(re.search(rf"^{name} (\\d+)$", pathlib.Path(file).read_text(), re.MULTILINE)[1])

label = "com.docker.compose.service"
listed = subprocess.run(
    ["docker", "ps", "--no-trunc", "--format", '{{.Label "' + label + '"}} {{.ID}}'],
    check=True, capture_output=True, text=True,
).stdout
services = {}
for line in listed.splitlines():
    service, container = line.split()
    group = f"/sys/fs/cgroup/memory/docker/{container}/memory"
    peak_bytes = int(pathlib.Path(f"{group}.max_usage_in_bytes").read_text())
    services[service] = (peak_bytes // 2**20, counter(f"{group}.oom_control", "oom_kill"))
print(json.dumps({"killed": counter("/proc/vmstat", "oom_kill"), "services": services}))
"""
ENCODERS = "pgrep --full --count '[f]fmpeg.*libx264' || true"


@dataclass
class Memory:
    """What a machine had left at its worst moment, in MiB, and how many encoders ran at once."""

    available_mib: int = 1 << 20
    swapped_mib: int = 0
    encoders: int = 0

    def sample(self, vm: Vm) -> None:
        printed = vm.ssh(f"{ENCODERS}; cat /proc/meminfo")
        encoders, _, meminfo = printed.partition("\n")
        figures = re.findall(r"(\w+): +(\d+) kB", meminfo)
        mib = {name: int(value) // 1024 for name, value in figures}
        self.available_mib = min(self.available_mib, mib["MemAvailable"])
        self.swapped_mib = max(self.swapped_mib, mib["SwapTotal"] - mib["SwapFree"])
        self.encoders = max(self.encoders, int(encoders))


def test_two_renders_of_1080p_fit(system: System, person: RetryingApiClient, videos: str) -> None:
    worker, memory = system.worker, Memory()
    assert "SwapTotal:       2097148 kB" in worker.ssh("cat /proc/meminfo")
    task_id = person.submit(f"{videos}/large.mp4")["task_id"]
    deadline = time.monotonic() + END_S
    while (task := person.task(task_id))["status"] not in FINISHED:
        assert time.monotonic() < deadline, task
        memory.sample(worker)
    counted = json.loads(worker.python(COUNTERS))
    print(f"two renders of 1080p on {worker.machine.memory_mib} MiB: {memory}, {counted}")
    assert task["status"] == "done", task
    assert memory.encoders >= 2, memory
    assert counted["killed"] == 0
    assert {killed for _, killed in counted["services"].values()} == {0}
    # Each part was rendered at its first try.
    assert [part["attempt"] for part in task["parts"]] == [1] * expected.VIDEOS["large"].parts
    person.delete(f"/tasks/{task_id}")
