import signal
import subprocess
from pathlib import Path

import pytest
from locks_testing import lock_holder

from idrl_local.pidlocks import PidLock
from idrl_testing.waiting import LIMIT_S


@pytest.fixture
def lock(tmp_path: Path) -> PidLock:
    return PidLock(tmp_path / "program.lock")


def test_lock_is_free_until_acquired(lock: PidLock) -> None:
    assert not lock.is_locked()
    lock.path.touch()
    assert not lock.is_locked()


def test_lock_survives_exec_and_names_the_process_group(lock: PidLock) -> None:
    with lock_holder(lock.path) as process:
        assert lock.is_locked()
        assert lock.pid == process.pid
        lock.signal_group(signal.SIGTERM)
        assert lock.wait_until_free(LIMIT_S)


def test_lock_is_held_while_a_child_of_the_holder_lives(lock: PidLock) -> None:
    with lock_holder(lock.path) as process:
        process.kill()
        process.wait()
        assert not lock.wait_until_free(0)
        lock.signal_group(signal.SIGKILL)
        assert lock.wait_until_free(LIMIT_S)


def test_acquire_kills_the_children_of_a_dead_holder(lock: PidLock) -> None:
    with lock_holder(lock.path) as first:
        first.kill()
        first.wait()
        with lock_holder(lock.path) as second:
            assert lock.pid == second.pid


def test_free_lock_signals_no_process(lock: PidLock) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        lock.path.write_text(str(other.pid))
        lock.signal_group(signal.SIGKILL)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.2)
        other.kill()


def test_hold_releases_the_lock_after_the_block(lock: PidLock) -> None:
    with lock.hold():
        assert lock.is_locked()
    assert not lock.is_locked()
