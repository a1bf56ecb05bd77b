"""What a fault costs: recovery, aborts, the longest answer, restarts under load, slow readers."""

import statistics
import time
from collections.abc import Callable, Mapping

from bench import fault_answers, fault_recovery, fault_uploads
from bench.paired import Ratio
from bench.registry import Options
from bench.report import Comparison, Report, Table
from chaos import target
from chaos.target import Target

Figures = Mapping[str, list[float]]
# By figure: the greatest value that is allowed.
_GOALS = {
    "kill -9 of a render worker → its part is reclaimed, s": 20.0,
    "kill -9 of a fetch worker → its task is reclaimed, s": 20.0,
    "abort → no process and no file, p95, s": 3.0,
    "abort of a dead worker's task → no file, s": 20.0,
    "abort of a dead worker's task, Redis stopped → no file, s": 20.0,
    "longest answer in any fault, s": 15.0,
    "longest /health in any fault, s": 1.0,
    "reload of web at 200 requests/s: resets": 0.0,
    "reload of web at 200 requests/s: seconds with a 502 or 503": 1.0,
    "reload of tasks at 200 requests/s: resets": 0.0,
    "reload of tasks at 200 requests/s: seconds with a 502 or 503": 1.0,
    "restart of web at 200 requests/s: resets": 0.0,
    "restart of web at 200 requests/s: seconds with a 502 or 503": 1.0,
    "restart of tasks at 200 requests/s: resets": 0.0,
    "restart of tasks at 200 requests/s: seconds with a 502 or 503": 1.0,
    "10,000 queued tasks, Redis emptied → wake-ups are back, s": 60.0,
    "200 uploads cut at random: lost or wrong": 0.0,
    "100 readers at 1 KB/s: p95 of others' GET, of that when idle": 2.0,
}


def run(options: Options) -> Report:
    rounds = 1 if options.quick else options.rounds
    with target.running() as system:
        measures: list[Callable[[Target, int], Figures]] = [
            fault_recovery.killed_workers,
            fault_recovery.aborts,
            fault_recovery.aborts_of_dead_workers,
            fault_recovery.emptied_redis,
            fault_uploads.cut_uploads,
            fault_answers.slow_readers,
            fault_answers.restarts,
            fault_answers.longest,
        ]
        figures: dict[str, list[float]] = {}
        for measure in measures:
            began = time.monotonic()
            measured = measure(system, rounds)
            # At once: the whole takes a quarter of an hour, and much longer on a busy machine.
            print(f"{measure.__name__}, {time.monotonic() - began:.0f} s: {measured}", flush=True)
            figures |= measured
    table = Table(
        "What a fault costs",
        ("figure", "median", "greatest", "values", "goal"),
        [
            (name, statistics.median(values), max(values), len(values), f"≤ {_GOALS[name]:g}")
            for name, values in figures.items()
        ],
    )
    return Report([table], [_compare(name, figures[name]) for name in figures], {"runs": figures})


def _compare(name: str, values: list[float]) -> Comparison:
    """Hold the greatest value to the goal."""
    worst = Ratio(max(values), min(values), max(values), len(values))
    return Comparison(name, worst, at_most=_GOALS[name])
