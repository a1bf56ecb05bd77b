"""A child under a hostile file's control: its answer is bounded, and nothing of it is left."""

import json
import os
import resource
import subprocess
import sys

import pytest

from idrl_testing.processes import is_alive
from idrl_testing.waiting import LIMIT_S, wait_until
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
        return scripted.request({"payload": payload}, LIMIT_S, lambda: False)


SHOW_LIMITS = """
import json, os, resource
kinds = ("CORE", "CPU", "AS", "FSIZE", "NOFILE", "NPROC")
limits = {kind: resource.getrlimit(getattr(resource, f"RLIMIT_{kind}")) for kind in kinds}
print(json.dumps({"nice": os.nice(0), **limits}))
"""


def limits_of(limits: ChildLimits) -> dict[str, object]:
    command = guarded([sys.executable, "-I", "-c", SHOW_LIMITS], limits)
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    shown: dict[str, object] = json.loads(done.stdout)
    return shown


def test_child_has_each_limit_that_was_given() -> None:
    """No core file either: it would hold a source, and be as large as the memory."""
    given = ChildLimits(
        cpu_s=7, memory_bytes=2**30, file_bytes=12_345, open_files=37, processes=890, nice=2
    )
    assert limits_of(given) == {
        "nice": min(os.nice(0) + 2, 19),
        "CORE": [0, 0],
        "CPU": [7, 12],  # SIGXCPU, and SIGKILL where that is caught
        "AS": [2**30, 2**30],
        "FSIZE": [12_345, 12_345],
        "NOFILE": [37, 37],
        "NPROC": [890, 890],
    }


def test_child_without_limits_keeps_its_starters() -> None:
    unlimited = ChildLimits(open_files=0, processes=0)
    assert limits_of(unlimited) == {
        "nice": os.nice(0),
        "CORE": [0, 0],
        **{
            kind: list(resource.getrlimit(getattr(resource, f"RLIMIT_{kind}")))
            for kind in ("CPU", "AS", "FSIZE", "NOFILE", "NPROC")
        },
    }


def test_child_is_the_first_to_be_killed_where_memory_runs_out() -> None:
    """Else the kernel kills the largest process, which may be the worker or PostgreSQL."""
    score = 'print(open("/proc/self/oom_score_adj").read())'
    command = guarded([sys.executable, "-I", "-c", score], ChildLimits())
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert int(done.stdout) == 1000


@pytest.mark.parametrize("before", ["os.closerange(0, 3)", "pass"], ids=["closes", "holds"])
def test_process_started_by_a_child_is_killed_with_it(before: str) -> None:
    left = answer_of(BEGIN + LEAVES.replace("BEFORE", before))["left"]
    assert isinstance(left, int)
    wait_until(lambda: not is_alive(left))


@pytest.mark.parametrize("written", ["b'nonsense'", "b'[' * 100_000", "b'[]'", "b' ' * 2**26"])
def test_invalid_answer_is_a_crash(written: str) -> None:
    with pytest.raises(ChildCrashed):
        answer_of(f"{BEGIN}sys.stdout.buffer.write({written})")


def test_large_request_and_answer_pass() -> None:
    code = "import json, sys\nmessage = json.load(sys.stdin)\nsys.stderr.write('x' * 2**20)\n"
    code += "print(json.dumps(message['payload']))"
    assert answer_of(code, "x" * 2**20) == {"payload": "x" * 2**20}
