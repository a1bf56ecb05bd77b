"""What the sandbox adds to the start of a media child."""

import os
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

from bench import paired
from bench.paired import Sample
from bench.registry import Options
from bench.report import Comparison, Report, Table
from worker_server.media.process import guard
from worker_server.media.process.child import ChildFiles, ChildLimits, guarded

_METHODS = {"limits alone": guard.NONE, "limits and sandbox": guard.ALL}
_MAX_MS = 3.0
_ROUNDS = 200


def run(options: Options) -> Report:
    with tempfile.TemporaryDirectory(prefix="idrl-bench-") as folder:
        files = ChildFiles(write=(Path(folder),))
        methods = {name: partial(_start, sandbox, files) for name, sandbox in _METHODS.items()}
        runs = paired.take_turns(methods, 5 if options.quick else _ROUNDS)
    rows: list[tuple[str, float, float]] = [
        (name, paired.median(runs, name, "wall_ms"), paired.median(runs, name, "cpu_ms"))
        for name in runs
    ]
    plain, sandboxed = (wall_ms for _, wall_ms, _ in rows)
    # Comparisons hold ratios: divided by 1 ms, so that the goal is in milliseconds.
    added_ms = paired.ratio_of([max(0.001, sandboxed - plain)], [1.0])
    return Report(
        [Table("Start and end of a child that does nothing", ("way", "wall ms", "CPU ms"), rows)],
        [Comparison("milliseconds the sandbox adds", added_ms, at_most=_MAX_MS)],
        {"runs": {"child": runs}},
    )


def _start(sandbox: str, files: ChildFiles) -> Sample:
    command = guarded(["true"], ChildLimits(), sandbox, files)
    begin = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    # Processor time: other programs on the machine change it little.
    cpu_s = usage.ru_utime + usage.ru_stime
    return {"wall_ms": wall_s * 1000, "cpu_ms": cpu_s * 1000}
