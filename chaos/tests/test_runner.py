"""What a run passes with: a fault, a task, and a system that recovers."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, cast

import pytest

from chaos import __main__ as command, runner, target as system
from chaos.audit import Findings
from chaos.faults import Fault
from chaos.history import History, Submission
from chaos.runner import Outcome
from chaos.sources import Source
from chaos.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator


class Unrecovered(Fault):
    """A fault that the system does not recover from."""

    name = "unrecovered"

    def inject(self, target: Target, random: Random) -> None:
        """Break nothing: the target below is broken already."""

    def unavailable(self, target: Target) -> str | None:  # noqa: ARG002 # it is asked for
        return "needs root"


class Broken:
    """A system that stays broken."""

    def wait_until_ready(self) -> bool:
        return False

    def readiness(self) -> str:
        return "the sweeper is late"


def outcome(faults: int, tasks: int) -> Outcome:
    history = History()
    for number in range(tasks):
        history.record_submission(Submission(0, cast("Source", None), str(number)))
    return Outcome(Counter({"redis_killed": faults}), Findings(), history)


def test_a_run_without_a_fault_or_a_task_has_shown_nothing() -> None:
    assert outcome(1, 1).is_clean
    assert not outcome(0, 1).is_clean
    assert not outcome(1, 0).is_clean


def test_a_system_that_does_not_recover_is_noted() -> None:
    history, lines = History(), list[str]()
    target = cast("Target", Broken())
    assert runner.inject_for_a_while(target, Unrecovered(), Random(1), history, lines.append)
    assert history.unrecovered == ["unrecovered: NOT ready: the sweeper is late"]
    assert "NOT ready" in lines[0]


@pytest.mark.timeout(20)
def test_a_run_without_a_possible_fault_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def running() -> Iterator[Target]:
        yield cast("Target", Broken())

    monkeypatch.setattr(system, "running", running)
    monkeypatch.setattr(command, "KINDS", (Unrecovered(),))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["chaos", "--kinds", "unrecovered"])
    assert command.main() == 1
    assert "unrecovered skipped: needs root\nnone of these faults" in capsys.readouterr().out
