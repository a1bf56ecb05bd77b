"""What is counted as the cost of a piece of work."""

import json
import subprocess
import sys

import psutil
import pytest

from bench.usage import WorkFailed, measure

_MIB = 1024**2


def test_failed_work_is_not_measured(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WorkFailed, match="ended with 1"):
        measure(lambda: 1 / 0)
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_killed_work_is_not_measured() -> None:
    with pytest.raises(WorkFailed, match="ended with -9"):
        measure(lambda: subprocess.run(["sh", "-c", "kill -9 $PPID"], check=True))


_MEASURE_A_CHILD = """
import json, subprocess, sys
from bench.usage import measure

program = (
    "import time; hold = b'x' * (80 << 20);"
    " [None for _ in iter(time.process_time, 0) if _ > 0.4 and exit()]"
)
usage = measure(lambda: subprocess.run([sys.executable, "-c", program], check=True))
json.dump(usage.sample(), sys.stdout)
"""


def test_child_processes_count() -> None:
    # A fork counts its parent's memory: the measuring process is a small one, not the test runner.
    run = subprocess.run(
        [sys.executable, "-c", _MEASURE_A_CHILD], capture_output=True, text=True, check=True
    )
    sample = json.loads(run.stdout)
    assert sample.keys() == {"wall_s", "cpu_s", "peak_bytes"}
    assert 0.4 <= sample["cpu_s"] <= 5
    assert sample["wall_s"] >= 0.4
    assert 80 * _MIB <= sample["peak_bytes"] <= 200 * _MIB


_MEASURE_FOR_EVER = """
import signal, subprocess, sys
from bench.usage import measure

signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
program = "import os, time; print(os.getpid(), os.getppid(), flush=True); time.sleep(600)"
measure(lambda: subprocess.run([sys.executable, "-c", program], check=True))
"""


def test_a_stop_ends_the_measured_work_too() -> None:
    command = [sys.executable, "-c", _MEASURE_FOR_EVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as measuring:
        assert measuring.stdout is not None
        work = [psutil.Process(int(pid)) for pid in measuring.stdout.readline().split()]
        assert len(work) == 2
        measuring.terminate()
        assert measuring.wait(60) == 1
        _, alive = psutil.wait_procs(work, timeout=60)
        assert alive == []
