"""A child under a hostile file's control: its answer is bounded, and nothing of it is left."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from worker_server.media.process import child, guard
from worker_server.media.process.child import Child, ChildCrashed, ChildLimits, guarded

BEGIN = "import os, sys, time\nsys.stdin.read()\n"
# A process that outlives the child, and then the child's answer.
LEAVES = """
left = os.fork()
if not left:
    BEFORE
    time.sleep(60)
print('{"left": %d}' % left, flush=True)
os._exit(0)
"""


class Scripted(Child):
    """Runs this code instead of a child module."""

    def __init__(self, code: str) -> None:
        super().__init__("", ChildLimits())
        self._code = code

    def start(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            command = guarded(
                [sys.executable, "-I", "-c", self._code], self._limits, guard.SYSCALLS
            )
            self._process = child._popen(command, None, subprocess.PIPE)
        return self._process


def answer_of(code: str, payload: str = "") -> dict[str, object]:
    with Scripted(code) as scripted:
        return scripted.request({"payload": payload}, 20, lambda: False)


def is_there(pid: object) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("before", ["os.closerange(0, 3)", "pass"], ids=["closes", "holds"])
def test_process_started_by_a_child_is_killed_with_it(before: str) -> None:
    left = answer_of(BEGIN + LEAVES.replace("BEFORE", before))["left"]
    deadline = time.monotonic() + 10
    while is_there(left):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("written", ["b'nonsense'", "b'[' * 100_000", "b'[]'", "b' ' * 2**26"])
def test_answer_that_is_none_is_a_crash(written: str) -> None:
    with pytest.raises(ChildCrashed):
        answer_of(f"{BEGIN}sys.stdout.buffer.write({written})")


def test_large_request_and_answer_pass() -> None:
    code = "import json, sys\nmessage = json.load(sys.stdin)\nsys.stderr.write('x' * 2**20)\n"
    code += "print(json.dumps(message['payload']))"
    assert answer_of(code, "x" * 2**20) == {"payload": "x" * 2**20}
