"""A run: a stream of tasks, one fault at a time at random moments, then quiet and the audit."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import psutil
import psycopg2

from chaos.audit import Findings, audit, wait_until_tidy
from chaos.callers import Stream
from chaos.faults import Fault, NotInjected
from chaos.history import History
from chaos.target import Target
from idrl_testing.background import repeating

_PAUSE_S = (0.5, 4.0)
_QUIET_S = 180
# An upload takes two calls, and a call of the last fault may still hold its file.
_REPEATS = 5
_UNFINISHED = """
    SELECT count(*), coalesce(extract(epoch FROM now() - max(updated_at)), 0)::float FROM tasks
    WHERE status IN ('queued', 'downloading', 'processing', 'canceling')
"""
WriteLine = Callable[[str], None]


@dataclass
class Outcome:
    """What a run did and found."""

    injected: Counter[str]
    findings: Findings
    history: History

    @property
    def is_clean(self) -> bool:
        """Whether something was tried and nothing was found."""
        was_tried = bool(self.injected.total() and self.history.submissions)
        return was_tried and not any(self.findings.counts().values())

    def to_json(self) -> str:
        """Return the line that a run ends with."""
        summary = {
            "faults": self.injected.total(),
            "kinds": len(self.injected),
            "tasks": len(self.history.submissions),
        }
        return json.dumps({**summary, **self.findings.counts()})


@dataclass
class ProcessRecorder:
    """Every process that the system ever had, seen by a thread that polls twice a second."""

    target: Target
    seen: set[psutil.Process] = field(default_factory=set)

    @contextmanager
    def watch_processes(self) -> Iterator[None]:
        def watch() -> None:
            with suppress(psutil.NoSuchProcess):
                self.seen.update(self.target.supervised())

        with repeating(watch, every_s=0.5):
            yield


def run(
    target: Target, kinds: Sequence[Fault], *, minutes: float, seed: int, write_line: WriteLine
) -> Outcome:
    """Inject faults of these kinds for some minutes, wait until all work has ended, and audit."""
    random, history, recorder = Random(seed), History(), ProcessRecorder(target)
    stream = Stream(target.installation.url, target.sources, history, seed)
    stream.brand_first_caller()
    stream.add_webhooks(target.receiver)
    injected: Counter[str] = Counter()
    until = time.monotonic() + 60 * minutes
    with recorder.watch_processes(), stream.running():
        for fault in _shuffled_rounds(kinds, random):
            time.sleep(random.uniform(*_PAUSE_S))
            if time.monotonic() > until:
                break
            if inject_for_a_while(target, fault, random, history, write_line):
                injected[fault.name] += 1
    with recorder.watch_processes():
        write_line("quiet: no more faults or new tasks")
        finish_submissions(stream, history)
        wait_for_quiet(target)
        wait_until_tidy(target)
    findings = audit(target, history, stream.callers, recorder.seen)
    return Outcome(injected, findings, history)


def _shuffled_rounds(kinds: Sequence[Fault], random: Random) -> Iterator[Fault]:
    """Yield every kind once in random order, again and again, so that none is left out."""
    while True:
        yield from random.sample(kinds, len(kinds))


def inject_for_a_while(
    target: Target, fault: Fault, random: Random, history: History, write_line: WriteLine
) -> bool:
    """Inject the fault, hold it, recover it, and wait until the system is ready again."""
    began = time.monotonic()
    history.fault = fault.name
    try:
        fault.inject(target, random)
        time.sleep(random.uniform(*fault.hold_s))
    except NotInjected as error:
        write_line(f"{fault.name}: not injected: {error}")
        return False
    finally:
        fault.recover(target)
        recovered = time.monotonic()
    is_ready = target.wait_until_ready()
    history.fault = None
    after_s = time.monotonic() - recovered
    outcome = f"ready after {after_s:.1f} s"
    if not is_ready:
        outcome = f"NOT ready: {target.readiness()}"
        history.record_unrecovered(f"{fault.name}: {outcome}")
    write_line(f"{fault.name}: held {recovered - began:.1f} s, {outcome}")
    return True


def finish_submissions(stream: Stream, history: History) -> None:
    """Repeat requests that got no response, now that no fault is active."""
    for submission in history.submissions:
        caller = stream.callers[submission.account]
        for _ in range(_REPEATS):
            if submission.task_ids:
                break
            caller.repeat(submission, cut_share=0)


def wait_for_quiet(target: Target) -> None:
    """Wait until no task is live, for as long as tasks go on changing."""
    while True:
        try:
            unfinished, idle_s = target.rows(_UNFINISHED)[0]
        except psycopg2.OperationalError:
            unfinished, idle_s = 1, 0.0
        if not unfinished or float(str(idle_s)) > _QUIET_S:
            return
        time.sleep(0.5)


def summary(outcome: Outcome) -> dict[str, Any]:
    """Return how often each kind was injected."""
    return dict(sorted(outcome.injected.items()))
