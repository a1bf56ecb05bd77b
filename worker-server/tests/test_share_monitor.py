"""The last known state of the share, after hours without a request."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from idrl_testing.waiting import LIMIT_S, wait_until
from worker_server import storage
from worker_server.share_monitor import ShareMonitor
from worker_server.storage import ShareAway, ShareFull

_ALL_SPACE = 2**62


def test_share_that_was_full_hours_ago_is_not_called_full(share: Path) -> None:
    monitor = ShareMonitor(share, _ALL_SPACE)
    assert isinstance(monitor.check(LIMIT_S).error, ShareFull)
    assert isinstance(monitor.last().error, ShareFull)
    state = monitor.check(LIMIT_S)
    monitor._state = replace(state, at=state.at - 7200)
    monitor._reserve_bytes = 0  # there is space again
    assert monitor.last().error is None
    wait_until(lambda: monitor.last().free_bytes is not None)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("any"), ValueError("any")])
def test_check_that_fails_unexpectedly_does_not_repeat_an_old_state(
    share: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monitor = ShareMonitor(share, 0)
    assert monitor.check(LIMIT_S).error is None

    def fail(_: Path) -> bool:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(storage, "is_mounted", fail)
        assert isinstance(monitor.check(LIMIT_S).error, ShareAway)
        assert isinstance(monitor.last().error, ShareAway)
    assert monitor.check(LIMIT_S).error is None


def test_share_of_a_machine_without_threads_does_not_answer(
    share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = ShareMonitor(share, 0)

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", no_thread)
        assert isinstance(monitor.check(LIMIT_S).error, ShareAway)
        assert (monitor.last().error, monitor.hangs()) == (None, False)  # nothing is known
    assert monitor.check(LIMIT_S).error is None
