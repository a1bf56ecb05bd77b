"""Recovery time after a worker is killed, and the time until an aborted task has no files left."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil

from chaos.callers import Caller, Stream
from chaos.history import History, Submission
from chaos.target import Target
from idrl_local import supervision
from idrl_testing.waiting import wait_until

Figures = dict[str, list[float]]
_ABORTS = 20
_QUEUED = 10_000
_WAKEUPS_AT_MOST = 1000
_RENDERING = "SELECT 1 FROM parts WHERE task_id = %s AND status = 'rendering'"
_DOWNLOADING = "SELECT 1 FROM tasks WHERE id = %s AND status = 'downloading'"
_RECLAIMED = """
    SELECT extract(epoch FROM min(lost.at) - %s::timestamptz)::float FROM task_events AS lost
    WHERE lost.task_id = %s AND lost.kind = 'lease_lost' AND lost.at > %s::timestamptz
        AND (lost.part IS NOT NULL) = %s
"""


def killed_workers(target: Target, rounds: int) -> Figures:
    """Kill all processes of a worker while it works, and wait until its lease is reclaimed.

    Another worker claims it then; here the only one has to be started again first.
    """
    caller = _caller(target)
    return {
        "kill -9 of a render worker → its part is reclaimed, s": [
            _killed(target, caller, "render", "long.mp4") for _ in range(rounds)
        ],
        "kill -9 of a fetch worker → its task is reclaimed, s": [
            _killed(target, caller, "fetch", "slow.mp4") for _ in range(rounds)
        ],
    }


def aborts(target: Target, rounds: int) -> Figures:
    """Abort tasks that download or render; watch the process table and the disk, not the API."""
    caller = _caller(target)
    count = _ABORTS if rounds > 1 else 2
    elapsed = sorted(_abort(target, caller, _is_worked_on) for _ in range(count))
    return {"abort → no process and no file, p95, s": [elapsed[int(0.95 * (count - 1))]]}


def aborts_of_dead_workers(target: Target, rounds: int) -> Figures:
    """Abort a task whose worker is frozen, as a dead machine's; once with Redis stopped too."""
    caller = _caller(target)
    alive = [_abort_of_frozen(target, caller) for _ in range(rounds)]
    without_redis = [_abort_of_frozen(target, caller, stopped=("redis",))]
    return {
        "abort of a dead worker's task → no file, s": alive,
        "abort of a dead worker's task, Redis stopped → no file, s": without_redis,
    }


def emptied_redis(target: Target, rounds: int) -> Figures:  # noqa: ARG001 # once is enough
    """Wipe Redis with many queued tasks, while work is paused so that none of them is claimed."""
    supervision.stop_programs(target.home, ["fetch"])
    target.rows(
        "INSERT INTO tasks (id, owner_id, url, status) SELECT gen_random_uuid(), 1000 + n,"
        " 'http://127.0.0.1:1/v.mp4', 'queued' FROM generate_series(1, %s) n",
        _QUEUED,
    )
    try:
        with target.redis() as client:
            wait_until(lambda: client.llen("fetch") >= _WAKEUPS_AT_MOST, 120)
            client.flushall()
            began = time.monotonic()
            wait_until(lambda: client.llen("fetch") >= _WAKEUPS_AT_MOST, 120)
            elapsed = time.monotonic() - began
    finally:
        target.rows("DELETE FROM tasks WHERE owner_id > 1000")
        supervision.start_programs(target.home, ["fetch"])
        target.wait_until_ready()
    return {"10,000 queued tasks, Redis emptied → wake-ups are back, s": [elapsed]}


def _caller(target: Target) -> Caller:
    return Stream(target.installation.url, target.sources, History(), seed=1).callers[0]


def _killed(target: Target, caller: Caller, program: str, source: str) -> float:
    submission = caller.submit(target.sources.get(source))
    is_render = program == "render"
    query = _RENDERING if is_render else _DOWNLOADING
    wait_until(lambda: target.rows(query, submission.task_id))
    killed_at = target.rows("SELECT clock_timestamp()::text")[0][0]
    for process in target.processes(program):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    values = (killed_at, submission.task_id, killed_at, is_render)
    wait_until(lambda: target.rows(_RECLAIMED, *values)[0][0] is not None)
    elapsed = float(str(target.rows(_RECLAIMED, *values)[0][0]))
    _end(target, caller, submission)
    return elapsed


def _abort(target: Target, caller: Caller, reached: Callable[[Target, Submission], bool]) -> float:
    submission = caller.submit(target.sources.get("slow.mp4"))
    wait_until(lambda: reached(target, submission))
    return _seconds_until_nothing_is_left(target, caller, submission)


def _abort_of_frozen(target: Target, caller: Caller, stopped: Sequence[str] = ()) -> float:
    """Abort a task whose worker is frozen, with these programs stopped too."""
    submission = caller.submit(target.sources.get("slow.mp4"))
    wait_until(lambda: _is_worked_on(target, submission), 300)
    frozen = [process for name in ("fetch", "render") for process in target.processes(name)]
    _signal(frozen, signal.SIGSTOP)
    supervision.stop_programs(target.home, stopped)
    try:
        return _seconds_until_nothing_is_left(target, caller, submission, processes_too=False)
    finally:
        supervision.start_programs(target.home, stopped)
        _signal(frozen, signal.SIGCONT)
        target.wait_until_ready()


def _seconds_until_nothing_is_left(
    target: Target, caller: Caller, submission: Submission, *, processes_too: bool = True
) -> float:
    began = time.monotonic()
    caller.delete(submission)
    folder = target.home.share / str(submission.task_id)

    def is_clear() -> bool:
        return not folder.exists() and not (processes_too and _encoders(target))

    wait_until(is_clear, 120)
    return time.monotonic() - began


def _is_worked_on(target: Target, submission: Submission) -> bool:
    worked_on = "SELECT 1 FROM tasks WHERE id = %s AND status IN ('downloading', 'processing')"
    return bool(target.rows(worked_on, submission.task_id))


def _encoders(target: Target) -> list[psutil.Process]:
    encoders = []
    for process in target.supervised():
        with suppress(psutil.NoSuchProcess):
            if "ffmpeg" in process.name():
                encoders.append(process)
    return encoders


def _end(target: Target, caller: Caller, submission: Submission) -> None:
    caller.delete(submission)
    target.wait_until_ready()
    live = "SELECT 1 FROM tasks WHERE id = %s AND status NOT IN ('done', 'failed', 'canceled')"
    wait_until(lambda: not target.rows(live, submission.task_id))


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
