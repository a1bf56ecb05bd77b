"""New processes of a service under load: no call is refused or broken off."""

from collections.abc import Callable, Iterator

import pytest

from chaos import target
from chaos.callers import Stream
from chaos.history import History
from chaos.target import Target
from chaos.traffic import Traffic
from idrl_local import supervision
from idrl_local.home import Home
from idrl_testing.waiting import wait_until

# How long callers of a service wait that does not answer: the web app for tasks, nginx longer.
WAITED_S = 12
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def system() -> Iterator[Target]:
    """A running system that takes tasks and leaves them queued, so that both cores are free."""
    with target.running() as running:
        supervision.stop_programs(running.home, ["fetch", "render"])
        yield running


@pytest.fixture(scope="module")
def token(system: Target) -> str:
    stream = Stream(system.installation.url, system.sources, History(), seed=1)
    return str(stream.callers[0].client.token)


def children(system: Target, program: str) -> set[int]:
    return {process.pid for process in system.processes(program)[1:]}


def _wait_for_answers(polls: Traffic, posts: Traffic) -> None:
    """Wait until some calls more are answered than so far."""
    wanted = len(polls.answers) + 50, len(posts.answers) + 5
    wait_until(lambda: len(polls.answers) >= wanted[0] and len(posts.answers) >= wanted[1])


@pytest.mark.parametrize("program", ["web", "tasks"])
@pytest.mark.parametrize("act", [supervision.reload_program, supervision.restart_program])
def test_new_processes_refuse_no_call(
    system: Target, token: str, act: Callable[[Home, str], None], program: str
) -> None:
    polls = Traffic(system, "/tasks", token)
    source = system.sources.get("short.mp4").url
    posts = Traffic(system, "/tasks", token, rate_per_s=10, body={"url": source})
    old = children(system, program)
    with polls.flowing(), posts.flowing():
        _wait_for_answers(polls, posts)  # so that calls are under way
        act(system.home, program)
        wait_until(lambda: children(system, program) and not old & children(system, program))
        _wait_for_answers(polls, posts)
    for answers, good in ((polls.answers, 200), (posts.answers, 202)):
        others = [(elapsed_s, status) for _, elapsed_s, status in answers if status != good]
        if act is supervision.restart_program:  # a slow machine may restart longer than that
            others = [each for each in others if each[1] != 504 or each[0] < WAITED_S]
        assert others == []
