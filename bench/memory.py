"""Memory of a busy worker machine: Redis, tasks service, workers, ffmpeg, scratch clips."""

import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from bench import plots, sources
from bench.paired import Ratio
from bench.registry import Options
from bench.report import Comparison, Report, Table
from bench.running_system import RunningSystem, running
from bench.sources import Spec
from bench.usage import tree_bytes
from idrl_testing.background import repeating
from worker_server.media import Quality

_MIB = 1024**2
_SAMPLE_S = 0.5
_POLL_S = 1.0
_ENDED = ("done", "failed", "canceled")
# What runs on a worker machine; other processes belong to other machines.
_PROGRAMS = ("render", "fetch", "sweep", "tasks", "redis")
_SCRATCH = "clips in scratch"
_HD, _UHD = Spec("grain", 1920, 1080, 30, 50), Spec("grain", 3840, 2160, 30, 6)
_LONG = Spec(
    "pan", 640, 360, 10, 7200, encoder="-c:v libx264 -preset ultrafast -crf 35 -pix_fmt yuv420p"
)


class _Case(NamedTuple):
    """A source, how many of its parts are made at once, and the limit in GiB; a machine has 2."""

    spec: Spec
    at_once: int
    max_gib: float
    quality: Quality = Quality.BALANCED


_CASES = {
    **{f"two 1080p parts at once, {level}": _Case(_HD, 2, 1.5, level) for level in Quality},
    **{f"one 2160p part, {level}": _Case(_UHD, 1, 1.6, level) for level in Quality},
    "two parts of a source of 2 h": _Case(_LONG, 2, 2.0),
}
# Of a long source: by then download, probe and first parts are done.
_MAX_WATCH_S = 90.0


def run(options: Options) -> Report:
    rows: list[tuple[str | float, ...]] = []
    comparisons, figures, totals = [], {}, {}
    for name, case in _cases(options).items():
        peak = _watch(sources.make(case.spec), case)
        total = sum(peak.values())
        figures[name] = peak
        rows.append(
            (
                name,
                *(round(peak.get(part, 0) / _MIB) for part in (*_PROGRAMS, _SCRATCH)),
                round(total / _MIB),
            )
        )
        totals[name] = total / _MIB
        used = total / 1024**3
        comparisons.append(
            Comparison(f"{name}, GiB", Ratio(used, used, used, 1), at_most=case.max_gib)
        )
    columns = ("at work", *_PROGRAMS, _SCRATCH, "all")
    plots.bars(options.plots, "memory", "Memory of a worker machine", "MiB", totals)
    return Report(
        [Table("MiB (PSS) at the moment when all together was most", columns, rows)],
        comparisons,
        figures,
    )


def _cases(options: Options) -> dict[str, _Case]:
    return {"quick": _Case(sources.QUICK, 2, 2.0)} if options.quick else _CASES


def _watch(video: Path, case: _Case) -> dict[str, int]:
    """Return the memory by program at the moment of the peak, while a system processes a video."""
    with ExitStack() as stack:
        live = stack.enter_context(running(video, RENDER_CONCURRENCY=str(case.at_once)))
        memory = _Memory(live)
        stack.enter_context(repeating(memory.sample, _SAMPLE_S))
        task_id = live.post(quality=case.quality.value)
        until = None
        while (task := live.client.task(task_id))["status"] not in _ENDED:
            if task["status"] == "processing" and until is None:
                until = time.monotonic() + _MAX_WATCH_S
            if until is not None and time.monotonic() > until:
                break
            time.sleep(_POLL_S)
    if task["status"] not in ("done", "processing"):
        raise RuntimeError(f"the task ended with {task['error']}")
    return memory.peak


class _Memory:
    """What the programs use; `peak` is the sample with the greatest sum."""

    def __init__(self, live: RunningSystem) -> None:
        self._live = live
        home = live.installation.home
        self._roots = {name: psutil.Process(home.lock(name).pid) for name in _PROGRAMS}
        self.peak: dict[str, int] = {}

    def sample(self) -> None:
        now = {name: tree_bytes(root) for name, root in self._roots.items()}
        # In a container, scratch is memory.
        now[_SCRATCH] = sum(_size_bytes(path) for path in self._live.scratch.rglob("*"))
        if sum(now.values()) > sum(self.peak.values()):
            self.peak = now


def _size_bytes(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0  # removed since
