"""Paired runs: A B A B …, so that other load on the machine slows all methods down alike."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Sample = Mapping[str, float]  # what was measured in one run: {"cpu_s": 1.5, "wall_s": 0.8}
Runs = dict[str, list[Sample]]  # the samples of each method, in the order of the rounds

_MIB = 1024**2


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of paired runs; `low` and `high` are the extremes."""

    median: float
    low: float
    high: float
    pairs: int


def take_turns(methods: Mapping[str, Callable[[], Sample]], rounds: int) -> Runs:
    """Run every method once in each round, one after the other."""
    runs: Runs = {name: [] for name in methods}
    for _ in range(rounds):
        for name, method in methods.items():
            runs[name].append(method())
    return runs


def ratio(runs: Runs, of: str, to: str, measure: str) -> Ratio:
    """Return the ratio of a measure, method `of` / method `to`, over paired runs."""
    return ratio_of(
        [sample[measure] for sample in runs[of]], [sample[measure] for sample in runs[to]]
    )


def ratio_of(values: Sequence[float], bases: Sequence[float]) -> Ratio:
    """Return the ratio of values measured in pairs.

    Raise ValueError if they are not pairs.
    """
    ratios = [value / base for value, base in zip(values, bases, strict=True)]
    if not ratios:
        raise ValueError("no pairs")
    return Ratio(statistics.median(ratios), min(ratios), max(ratios), len(ratios))


def median(runs: Runs, name: str, measure: str) -> float:
    """Return the middle value of one measure of one method."""
    return statistics.median(sample[measure] for sample in runs[name])


def medians(runs: Runs, method: str, measures: Sequence[str]) -> tuple[float, ...]:
    """Return the medians of these measures, bytes as MiB."""
    return tuple(
        median(runs, method, measure) / (_MIB if measure.endswith("_bytes") else 1)
        for measure in measures
    )
