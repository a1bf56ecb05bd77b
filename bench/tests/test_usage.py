"""What is counted as the cost of a piece of work."""

import subprocess
import sys

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


def test_child_processes_count() -> None:
    program = (
        "import time; hold = b'x' * (80 << 20);"
        " [None for _ in iter(time.process_time, 0) if _ > 0.4 and exit()]"
    )
    usage = measure(lambda: subprocess.run([sys.executable, "-c", program], check=True))
    assert 0.4 <= usage.cpu_s <= 5
    assert usage.wall_s >= 0.4
    assert 80 * _MIB <= usage.peak_bytes <= 400 * _MIB
    assert usage.sample().keys() == {"wall_s", "cpu_s", "peak_bytes"}
