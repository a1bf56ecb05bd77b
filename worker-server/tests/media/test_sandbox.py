"""What a decoder that a hostile file has taken over can do: nothing but its work."""

import json
import os
import py_compile
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from idrl_testing.waiting import LIMIT_S
from worker_server.media import ChildFiles, EncodeFailed, run_encoder
from worker_server.media.process import child, escape_attempts, guard, sandbox
from worker_server.media.process.child import ChildLimits, end, guarded, spawn
from worker_server.media.selftest import SelfTestFailed, check_sandbox

# The escape attempts, made in a process that gives up its files and calls as a child module does.
SCRIPT = """
import json, os, sys
from worker_server.media.process import escape_attempts, guard
user, version, targets = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
targets["parent"] = os.getppid()
if user:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
if version:
    guard.landlock_version = lambda: version
guard.restrict_syscalls()
guard.restrict_files([f"r:{targets['source']}", f"w:{targets['scratch']}"])
print(json.dumps(escape_attempts.attempts(targets)))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A scratch folder, a source and, outside of the folder, a secret that any user may change.

    Not below `tmp_path`: each pytest that starts takes the others' rights to its root away.
    """
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for folder_name in ("scratch", "outside"):
            (root / folder_name).mkdir()
        for file_name in ("source", "secret", "outside/removable"):
            (root / file_name).write_text(file_name)
        for path in (root, *root.rglob("*")):
            path.chmod(0o777)
        yield root


def attempts_of(folder: Path, *, user: int = 0, version: int = 0) -> dict[str, bool]:
    names = ("scratch", "outside", "source", "secret")
    with sandbox._listeners(folder) as addresses:
        targets = {name: str(folder / name) for name in names} | addresses
        command = [sys.executable, "-I", "-c", SCRIPT, str(user), str(version), json.dumps(targets)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_S)
    succeeded: dict[str, bool] = json.loads(done.stdout)
    return succeeded


def escapes_in(outcomes: dict[str, bool]) -> set[str]:
    assert all(outcomes[name] for name in sandbox.NEEDED), outcomes
    return {name for name, done in outcomes.items() if done and name not in sandbox.NEEDED}


def test_a_child_can_do_its_work_and_nothing_else() -> None:
    report = sandbox.measure_sandbox()
    assert (report.missing, report.escapes, report.holds) == ((), (), True)
    assert report.level == f"landlock-{guard.landlock_version()}+seccomp"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_sandbox_holds_for_an_ordinary_user(folder: Path) -> None:
    assert escapes_in(attempts_of(folder, user=10_001)) == set()


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6])
def test_an_older_kernel_s_landlock_is_used_as_far_as_it_goes(version: int, folder: Path) -> None:
    if version > guard.landlock_version():
        pytest.skip("this kernel's Landlock is older")
    escapes = escapes_in(attempts_of(folder, version=version))
    assert escapes == ({"signal the parent"} if version < 6 else set())
    accepted = sandbox.SandboxReport(version, (), tuple(escapes))
    assert accepted.holds


def test_escape_attempts_find_what_is_not_refused(folder: Path) -> None:
    names = ("scratch", "outside", "source", "secret")
    with sandbox._listeners(folder) as addresses:
        targets = {name: str(folder / name) for name in names} | addresses
        targets["parent"] = os.getpid()
        command = [sys.executable, "-I", escape_attempts.__file__, json.dumps(targets)]
        unblocked = guarded(command, ChildLimits(), guard.NONE)
        done = subprocess.run(
            unblocked, check=True, capture_output=True, text=True, timeout=LIMIT_S
        )
    escapes = escapes_in(json.loads(done.stdout))
    assert {"read a secret", "connect by TCP", "send by UDP", "signal the parent"} <= escapes
    report = sandbox.SandboxReport(0, (), tuple(escapes))
    assert (report.holds, report.level) == (False, "none")


def test_sandbox_without_landlock_does_not_hold() -> None:
    assert not sandbox.SandboxReport(0, (), ("signal the parent",)).holds


def test_sandbox_is_reported_to_all_who_ask_at_once() -> None:
    """As /ready and /metrics do after a start: one reported no sandbox."""
    sandbox._measured.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: sandbox.sandbox_report(), range(4)))
    assert [report.holds for report in reports] == [True] * 4


def test_sandbox_whose_trial_does_not_end_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A child that was stopped, or a machine that starves: /metrics ended in an error."""
    sandbox._measured.cache_clear()
    with monkeypatch.context() as hangs:
        hangs.setattr(sandbox, "_TIMEOUT_S", 0)
        assert sandbox.sandbox_report().level == "none"
        with pytest.raises(SelfTestFailed, match="no end after 0 s"):
            check_sandbox(allow_none=True)
    assert sandbox.sandbox_report().holds


def test_guard_starts_from_its_compiled_file_only_while_that_is_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script is compiled at each start, which takes longer than the sandbox."""
    source = tmp_path / "guard.py"
    source.write_bytes(Path(guard.__file__).read_bytes())
    monkeypatch.setattr(guard, "__file__", str(source))
    assert child._guard_script.__wrapped__() == str(source)
    compiled = py_compile.compile(str(source))
    assert child._guard_script.__wrapped__() == compiled
    source.write_text(source.read_text() + "# another size\n")
    assert child._guard_script.__wrapped__() == str(source)


def test_a_hundred_forks_end_with_their_parent(folder: Path) -> None:
    code = (
        "import os, time\n"
        "for _ in range(100):\n    if not os.fork(): time.sleep(60)\n"
        "print('forked', flush=True); time.sleep(60)"
    )
    scratch = folder / "scratch"
    command = [sys.executable, "-I", "-c", code]
    process = spawn(command, ChildLimits(), ChildFiles(write=(scratch,)), scratch)
    assert process.stdout
    assert process.stdout.readline() == b"forked\n"
    group = process.pid
    end(process, grace_s=0)
    while _is_there(group):  # until the kernel has reaped what was killed
        time.sleep(0.01)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_child_cannot_fork_without_end(folder: Path) -> None:
    """The user has no other process, nor has another test run: this one is the first of twenty."""
    code = (
        "import os, time\nforked = 0\n"
        "while True:\n"
        "    try: child = os.fork()\n"
        "    except BlockingIOError: break\n"
        "    if not child: time.sleep(60)\n"
        "    forked += 1\n"
        "print(forked)"
    )
    capability = "-all,+dac_read_search"  # to read a checkout below a closed folder
    user_id = 20_000 + os.getpid() % 40_000
    user = ["setpriv", f"--reuid={user_id}", f"--regid={user_id}", "--clear-groups"]
    user += ["--securebits=+no_setuid_fixup"]
    user += [f"--inh-caps={capability}", f"--ambient-caps={capability}"]
    command = guarded([sys.executable, "-I", "-c", code], ChildLimits(processes=20))
    bomb = subprocess.Popen(
        [*user, *command], stdout=subprocess.PIPE, cwd=folder, start_new_session=True
    )
    try:
        assert bomb.stdout
        assert bomb.stdout.readline() == b"19\n"
    finally:
        os.killpg(bomb.pid, signal.SIGKILL)
        bomb.communicate()


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_ffmpeg_cannot_read_a_file_that_it_was_not_given(folder: Path, ffmpeg: str) -> None:
    scratch = folder / "scratch"
    read = ["-f", "rawvideo", "-s", "2x2", "-i", f"file:{folder / 'secret'}"]
    command = [ffmpeg, "-v", "error", *read, "-f", "null", "-"]
    with pytest.raises(EncodeFailed) as caught:
        run_encoder(
            command,
            total_frames=1,
            on_progress=lambda _: None,
            should_stop=lambda: False,
            scratch=scratch,
            files=ChildFiles((folder / "source",), (scratch,), (Path(ffmpeg),)),
        )
    assert "Permission denied" in caught.value.stderr_tail


def test_seccomp_is_refused_on_an_unknown_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_machine", lambda: "riscv64")
    with pytest.raises(guard.SandboxFailed, match="riscv64"):
        guard.restrict_syscalls()


def test_syscall_numbers_of_an_architecture_are_distinct() -> None:
    for column in (0, 1):
        pairs = [*guard._REFUSED.values(), *guard._ABSENT.values(), guard._CLONE]
        pairs += [pair for pair, _ in (*guard._OWN_ONLY.values(), *guard._OPENING.values())]
        numbers = [pair[column] for pair in pairs if pair[column] is not None]
        assert len(numbers) == len(set(numbers))
