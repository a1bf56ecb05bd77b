import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from idrl_local import pidlocks

# Takes the mark and becomes a shell that says so, forks a child of its own, and waits.
HOLDER = """
import os, pathlib, sys
from idrl_local import pidlocks
pidlocks.take(pathlib.Path(sys.argv[1]))
os.execvp("sh", ["sh", "-c", "sleep 60 & echo ready; wait"])
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            if pidlocks.is_held(path):
                os.killpg(process.pid, signal.SIGKILL)


def test_a_mark_is_free_until_it_is_taken(tmp_path: Path) -> None:
    assert not pidlocks.is_held(tmp_path / "mark")
    (tmp_path / "mark").touch()
    assert not pidlocks.is_held(tmp_path / "mark")


def test_a_mark_outlives_exec_and_names_the_process_group(tmp_path: Path) -> None:
    with holder(tmp_path / "mark") as process:
        assert pidlocks.is_held(tmp_path / "mark")
        assert int((tmp_path / "mark").read_text()) == process.pid
        pidlocks.signal_group(tmp_path / "mark", signal.SIGTERM)
        assert pidlocks.wait_until_free(tmp_path / "mark", 10)


def test_a_mark_is_held_as_long_as_a_child_of_the_holder_lives(tmp_path: Path) -> None:
    with holder(tmp_path / "mark") as process:
        process.kill()
        process.wait()
        assert not pidlocks.wait_until_free(tmp_path / "mark", 0)
        pidlocks.signal_group(tmp_path / "mark", signal.SIGKILL)
        assert pidlocks.wait_until_free(tmp_path / "mark", 10)


def test_taking_a_mark_ends_what_a_dead_holder_left(tmp_path: Path) -> None:
    with holder(tmp_path / "mark") as first:
        first.kill()
        first.wait()
        with holder(tmp_path / "mark") as second:
            assert int((tmp_path / "mark").read_text()) == second.pid


def test_nobody_is_signalled_for_a_free_mark(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        (tmp_path / "mark").write_text(str(other.pid))
        pidlocks.signal_group(tmp_path / "mark", signal.SIGKILL)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.2)
        other.kill()


def test_a_command_waits_for_the_one_before(tmp_path: Path) -> None:
    with pidlocks.held(tmp_path / "mark"):
        assert pidlocks.is_held(tmp_path / "mark")
    assert not pidlocks.is_held(tmp_path / "mark")
