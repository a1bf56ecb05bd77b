"""How many renders fit into the memory that this process may use."""

import re
from collections.abc import Iterator
from pathlib import Path

from idrl_common import cgroups
from idrl_common.cores import usable_cores

# An encoder of 1080p takes 390 MiB with one thread and 480 with four (docs/performance.md).
_RENDER_BYTES = 500 << 20
_NO_LIMIT = 1 << 62


def usable_renders(root: Path = Path("/")) -> int:
    """Return how many renders may run at once: one per core, as far as memory goes."""
    fitting = (limit // _RENDER_BYTES for limit in _limits(root))
    return max(1, min(usable_cores(root), *fitting))


def _limits(root: Path) -> Iterator[int]:
    """Yield the machine's memory, and the limits of the cgroup and of those above it, in bytes."""
    yield _number(root / "proc/meminfo", r"MemTotal: *(\d+) kB") << 10
    for folder in cgroups.folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            yield _number(folder / name, r"(\d+)$")  # "max": no limit


def _number(file: Path, pattern: str) -> int:
    """Return the number that the file has; a very large one where it has none."""
    try:
        match = re.match(pattern, file.read_text().strip())
    except OSError:
        match = None
    return int(match[1]) if match else _NO_LIMIT
