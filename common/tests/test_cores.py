"""The cores that a process may use, by files as Linux and Docker have them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from idrl_common.cores import usable_cores

ALL = len(os.sched_getaffinity(0))
HOST_OF_16 = {*range(16)}
V1 = "4:memory:/docker/1f\n3:cpu,cpuacct:/docker/1f\n"
V1_FOLDER = "sys/fs/cgroup/cpu,cpuacct"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 16),
        ({"proc/self/cgroup": "0::/\n"}, 16),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 16),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "10000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "6400000 100000\n"}, 16),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "\n"}, 16),
        (
            {
                "proc/self/cgroup": "0::/a.slice/b\n",
                "sys/fs/cgroup/a.slice/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/a.slice/b/cpu.max": "max 100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": V1,
                f"{V1_FOLDER}/cpu.cfs_quota_us": "50000\n",
                f"{V1_FOLDER}/cpu.cfs_period_us": "10000\n",
            },
            5,
        ),
        (
            {
                "proc/self/cgroup": V1,
                f"{V1_FOLDER}/docker/1f/cpu.cfs_quota_us": "-1\n",
                f"{V1_FOLDER}/docker/1f/cpu.cfs_period_us": "100000\n",
            },
            16,
        ),
    ],
)
def test_quota_of_the_cgroup_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: HOST_OF_16)
    write(tmp_path, files)
    assert usable_cores(tmp_path) == cores


def test_affinity_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == ALL
    script = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "from idrl_common.cores import usable_cores; print(usable_cores())"
    )
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, check=True, capture_output=True).stdout == b"1\n"
