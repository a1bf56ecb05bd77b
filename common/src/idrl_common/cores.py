"""How many processor cores this process may use: a container often has fewer than its host."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

from idrl_common import cgroups


def usable_cores(root: Path = Path("/")) -> int:
    """Return the cores by affinity and by the cgroup's quota, of which a fraction counts as one."""
    quota = min(_quotas(root), default=math.inf)
    return max(1, math.ceil(min(len(os.sched_getaffinity(0)), quota)))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quotas of the process's cgroup and of those above it, in cores."""
    for folder in cgroups.folders(root, "cpu"):
        for read in (_quota_of_v2, _quota_of_v1):
            try:
                quota = read(folder)
            except (OSError, ValueError, ZeroDivisionError):
                continue  # no such file, or no quota
            if quota > 0:
                yield quota


def _quota_of_v2(folder: Path) -> float:
    quota_us, period_us = (folder / "cpu.max").read_text().split()  # "max": no quota
    return int(quota_us) / int(period_us)


def _quota_of_v1(folder: Path) -> float:
    quota_us = int((folder / "cpu.cfs_quota_us").read_text())  # -1: no quota
    return quota_us / int((folder / "cpu.cfs_period_us").read_text())
