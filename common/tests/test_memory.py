"""The renders that fit into memory, by files as Linux and Docker have them."""

import os
from pathlib import Path

import pytest

from idrl_common.memory import usable_renders

MACHINE = {"proc/meminfo": "MemTotal:       65536000 kB\nMemFree: 1 kB\n"}
V2 = {**MACHINE, "proc/self/cgroup": "0::/\n"}
V1 = {**MACHINE, "proc/self/cgroup": "4:memory:/docker/1f\n3:cpu,cpuacct:/docker/1f\n"}
LIMIT = f"{2000 << 20}\n"  # RENDER_MEMORY=2000m


@pytest.mark.parametrize(
    ("files", "renders"),
    [
        ({}, 16),
        (MACHINE, 16),
        ({"proc/meminfo": "MemTotal:        4030000 kB\n"}, 7),
        ({**V2, "sys/fs/cgroup/memory.max": "max\n"}, 16),
        ({**V2, "sys/fs/cgroup/memory.max": LIMIT}, 4),
        ({**V2, "sys/fs/cgroup/memory.max": "268435456\n"}, 1),
        ({**V2, "sys/fs/cgroup/memory.max": LIMIT, "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({**V1, "sys/fs/cgroup/memory/memory.limit_in_bytes": LIMIT}, 4),
        ({**V1, "sys/fs/cgroup/memory/docker/1f/memory.limit_in_bytes": LIMIT}, 4),
        ({**V1, "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 16),
    ],
)
def test_limit_of_memory_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], renders: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {*range(16)})
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_renders(tmp_path) == renders
