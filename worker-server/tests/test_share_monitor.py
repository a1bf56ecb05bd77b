"""The last known state of the share, after hours without a request."""

from dataclasses import replace
from pathlib import Path

from idrl_testing.waiting import wait_until
from worker_server.share_monitor import ShareMonitor
from worker_server.storage import ShareFull

_ALL_SPACE = 2**62


def test_share_that_was_full_hours_ago_is_not_called_full(share: Path) -> None:
    monitor = ShareMonitor(share, _ALL_SPACE)
    assert isinstance(monitor.check().error, ShareFull)
    assert isinstance(monitor.last().error, ShareFull)
    state = monitor.check()
    monitor._state = replace(state, at=state.at - 7200)
    monitor._reserve_bytes = 0  # there is space again
    assert monitor.last().error is None
    wait_until(lambda: monitor.last().free_bytes is not None, 20)
