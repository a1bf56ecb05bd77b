"""New processes of a service under load: no call is refused or broken off."""

import time

import pytest

from chaos import target
from chaos.callers import Stream
from chaos.history import History
from chaos.target import Target
from chaos.traffic import Traffic
from idrl_local import supervision
from idrl_testing.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def children(system: Target, program: str) -> set[int]:
    return {process.pid for process in system.processes(program)[1:]}


def test_reload_refuses_no_call() -> None:
    with target.running() as system:
        caller = Stream(system.installation.url, system.sources, History(), seed=1).callers[0]
        for program in ("web", "tasks"):
            traffic = Traffic(system, "/tasks", str(caller.client.token))
            old = children(system, program)
            with traffic.flowing():
                time.sleep(1)  # so that calls are under way
                supervision.reload_program(system.home, program)
                wait_until(lambda old=old, name=program: not old & children(system, name), 120)  # type: ignore[misc] # binds both
            assert len(traffic.answers) > 50
            assert {status for _, _, status in traffic.answers} == {200}
