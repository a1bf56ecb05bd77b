"""Each kind of fault alone, in the middle of work: all of it ends well, and nothing is left."""

from random import Random

import pytest

from chaos import audit, runner
from chaos.callers import Stream
from chaos.faults import KINDS, Fault
from chaos.history import History
from chaos.target import Target
from idrl_testing.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def ignore(_: str) -> None:
    """Print no progress."""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_tasks_end_as_expected_under_each_fault(system: Target, kind: Fault) -> None:
    if reason := kind.unavailable(system):
        pytest.skip(reason)
    history, recorder = History(), runner.ProcessRecorder(system)
    stream = Stream(system.installation.url, system.sources, history, seed=1)
    stream.brand_first_caller()
    stream.add_webhooks(system.receiver)
    first, second, _ = stream.callers
    with recorder.watch_processes():
        wanted = [each.submit(system.sources.get("long.mp4")) for each in (first, second)]
        aborted = first.submit(system.sources.get("slow.mp4"))
        uploaded = second.submit(system.sources.get("short.mp4"), by_upload=True)
        wait_until(lambda: _is_rendering(system))
        _inject(system, kind, history)
        first.delete(aborted)
        second.submit(system.sources.get("page.mp4"))
        second.repeat(uploaded)
        runner.finish_submissions(stream, history)
        runner.wait_for_quiet(system)
        audit.wait_until_tidy(system)
    audit_report = audit.audit(system, history, stream.callers, recorder.seen)
    assert audit_report.lines() == []
    assert all(len(each.task_ids) == 1 for each in (*wanted, uploaded))


def _is_rendering(system: Target) -> bool:
    return bool(system.rows("SELECT 1 FROM parts WHERE status = 'rendering'"))


def _inject(system: Target, kind: Fault, history: History) -> None:
    """Inject the fault, as soon as there is something to break."""
    random = Random(0)
    wait_until(
        lambda: runner.inject_for_a_while(system, kind, random, history, ignore),
        describe=lambda: f"{kind.name} was not injected",
    )
