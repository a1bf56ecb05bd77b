"""The model, where the answer is known."""

import pytest

from bench.fleet import Costs, efficiency, makespan_s, waits

FREE = Costs(part_s=[10.0], between_s=0, database_s=0)


@pytest.mark.parametrize(("workers", "seconds"), [(1, 300), (2, 150), (7, 50), (30, 10), (64, 10)])
def test_without_costs_only_whole_parts_count(workers: int, seconds: float) -> None:
    assert makespan_s(FREE, workers, 30) == seconds


def test_time_between_parts_lowers_efficiency() -> None:
    costs = Costs(part_s=[9.0], between_s=1, database_s=0)
    assert makespan_s(costs, 1, 30) == 30 * 9 + 29
    assert efficiency(costs, 1, 30) == pytest.approx(0.903, abs=0.001)


def test_the_file_server_is_shared() -> None:
    # Once it is busy all the time, more workers bring nothing.
    costs = Costs(part_s=[1.0], between_s=0, database_s=0, share_s=0.5)
    assert makespan_s(costs, 8, 100) == pytest.approx(makespan_s(costs, 64, 100), rel=0.02)


def test_the_database_has_two_cores() -> None:
    costs = Costs(part_s=[1.0], between_s=0, database_s=0.5)
    assert makespan_s(costs, 16, 100) == pytest.approx(100 * 0.5 / 2, rel=0.1)


def test_first_parts_wait_longer_the_busier_the_workers_are() -> None:
    waited = [waits(FREE, 2, load, 2000).mean for load in (0.3, 0.6, 0.9)]
    assert waited == sorted(waited)
    assert waits(FREE, 64, 0.6, 2000).p95 == 0


def test_wait_of_one_worker_matches_queueing_theory() -> None:
    # Of the load of one half, first parts are one half: a new part waits for the running one
    # (present half of the time, and half of it is left), and for the first parts before it
    # (Cobham's formula): 0.25 / (1 - 0.25).
    assert waits(FREE, 1, 0.5, 20_000).mean == pytest.approx(1 / 3, rel=0.1)
