"""Simulates many workers on one database and one file server: a discrete-event model.

It is fed with measured times.
"""

import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import simpy

Process = Generator[Any, Any, None]  # what SimPy takes: a generator of events
_DATABASE_CORES = 2


@dataclass(frozen=True)
class Costs:
    """The cost of one part in seconds; each worker renders one part at a time."""

    part_s: Sequence[float]  # measured: from the claim to the finished row; sampled at random
    between_s: float  # from one part's end to the next one's claim, on the worker's own time
    database_s: float  # of one of the database's cores
    share_s: float = 0.0  # of the file server's network, one transfer at a time


@dataclass(frozen=True)
class Wait:
    """How long first parts waited for a worker, in units of a part's mean time."""

    mean: float
    p95: float


def makespan_s(costs: Costs, workers: int, parts: int, seed: int = 1) -> float:
    """Return the time that `workers` take for parts that all exist from the start."""
    fleet = _Fleet(costs, workers, seed)
    for _ in range(parts):
        fleet.submit(is_first=False)
    fleet.run(parts)
    return float(fleet.env.now)


def efficiency(costs: Costs, workers: int, parts: int, seed: int = 1) -> float:
    """Return the share of the workers' time that is spent on parts."""
    return parts * mean(costs.part_s) / (workers * makespan_s(costs, workers, parts, seed))


def waits(costs: Costs, workers: int, load: float, tasks: int, seed: int = 1) -> Wait:
    """Return how long first parts wait when tasks of two parts arrive at random, at this `load`."""
    fleet = _Fleet(costs, workers, seed)
    mean_s = mean(costs.part_s)
    every_s = 2 * (mean_s + costs.between_s) / (workers * load)

    def arrivals() -> Process:
        for _ in range(tasks):
            fleet.submit(is_first=True)
            fleet.submit(is_first=False)
            yield fleet.env.timeout(fleet.chance.expovariate(1 / every_s))

    fleet.env.process(arrivals())
    fleet.run(2 * tasks)
    waited = sorted(seconds / mean_s for seconds in fleet.first_waits_s)
    return Wait(mean(waited), waited[int(0.95 * len(waited))])


class _Fleet:
    def __init__(self, costs: Costs, workers: int, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 # a simulation
        self.env = simpy.Environment()
        self.first_waits_s: list[float] = []
        self._costs = costs
        self._queue = simpy.PriorityStore(self.env)
        self._database = simpy.Resource(self.env, _DATABASE_CORES)
        self._share = simpy.Resource(self.env, 1)
        self._number = 0
        self._unfinished = 0
        self._over = self.env.event()
        for _ in range(workers):
            self.env.process(self._work())

    def submit(self, *, is_first: bool) -> None:
        """Queue one part; first parts have priority."""
        self._number += 1
        self._queue.put((not is_first, self._number, self.env.now))

    def run(self, parts: int) -> None:
        """Run until this many parts are done."""
        self._unfinished = parts
        self.env.run(self._over)

    def _work(self) -> Process:
        costs = self._costs
        while True:
            is_later, _, since = yield self._queue.get()
            yield from self._occupy(self._database, costs.database_s)
            if not is_later:
                self.first_waits_s.append(self.env.now - since)
            yield self.env.timeout(self.chance.choice(costs.part_s))
            yield from self._occupy(self._share, costs.share_s)
            self._unfinished -= 1
            if self._unfinished == 0:
                self._over.succeed()
            yield self.env.timeout(costs.between_s)

    def _occupy(self, resource: simpy.Resource, seconds: float) -> Process:
        if seconds:
            with resource.request() as turn:
                yield turn
                yield self.env.timeout(seconds)
