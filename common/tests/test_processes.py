"""What the kernel says of processes that hold a locked pid file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from idrl_common import processes
from idrl_common.processes import ProcessState
from idrl_testing.waiting import wait_until

# Locks NAME.lock, writes its id into it, starts a child, and waits.
_PROGRAM = """
import fcntl, os, subprocess, sys
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
child = subprocess.Popen(["sleep", "1000"])
os.write(descriptor, str(os.getpid()).encode())
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """A running program and its child, whose ids are given, with `web.lock` in the folder."""
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path / "web.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        yield process.pid, child
        for pid in (process.pid, child):
            os.kill(pid, signal.SIGKILL)


def only(folder: Path) -> ProcessState:
    [state] = processes.read_states(folder)
    return state


def test_running_process_is_up_since_its_start(tmp_path: Path, program: tuple[int, int]) -> None:
    state = only(tmp_path)
    assert (state.name, state.is_up) == ("web", True)
    assert state.started_at == processes.started_at(program[0])
    assert state.started_at == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize("member", [0, 1])
def test_stopped_process_or_child_is_not_up(
    tmp_path: Path, program: tuple[int, int], member: int
) -> None:
    os.kill(program[member], signal.SIGSTOP)
    wait_until(lambda: only(tmp_path).is_stopped)
    assert not only(tmp_path).is_up
    os.kill(program[member], signal.SIGCONT)
    wait_until(lambda: only(tmp_path).is_up)


def test_stopped_child_with_its_own_pid_file_leaves_the_parent_up(
    tmp_path: Path, program: tuple[int, int]
) -> None:
    (tmp_path / "nginx.lock").write_text(str(program[1]))
    os.kill(program[1], signal.SIGSTOP)
    states = {state.name: state for state in processes.read_states(tmp_path)}
    assert states["web"].is_up


def test_ended_process_and_reused_id_are_down(tmp_path: Path) -> None:
    (tmp_path / "ended.lock").write_text("999999999")
    (tmp_path / "reused.lock").write_text(str(os.getpid()))  # not locked: another program
    (tmp_path / "command.lock").touch()  # names no process
    states = {state.name: state for state in processes.read_states(tmp_path)}
    assert states.keys() == {"ended", "reused"}
    assert not any(state.is_running or state.started_at for state in states.values())
