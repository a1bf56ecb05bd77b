"""The arithmetic of paired runs."""

import pytest

from bench.paired import median, ratio, ratio_of, take_turns


def test_unpaired_values_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratio_of([1.0, 2.0], [1.0])


def test_no_values_are_refused() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        ratio_of([], [])


def test_the_ratio_is_that_of_the_middle_pair() -> None:
    # The second pair ran while the machine was busy: both took four times as long.
    ratio = ratio_of([2.0, 8.0, 3.3], [1.0, 4.0, 1.0])
    assert (ratio.median, ratio.low, ratio.high, ratio.pairs) == (2.0, 2.0, 3.3, 3)


def test_methods_alternate() -> None:
    order: list[str] = []

    def method(name: str, cost_s: float) -> dict[str, float]:
        order.append(name)
        return {"cpu_s": cost_s * len(order)}

    runs = take_turns({"a": lambda: method("a", 1), "b": lambda: method("b", 3)}, rounds=3)
    assert order == ["a", "b"] * 3
    assert runs["a"] == [{"cpu_s": 1}, {"cpu_s": 3}, {"cpu_s": 5}]
    assert ratio(runs, "b", "a", "cpu_s").median == pytest.approx(4)
    assert median(runs, "b", "cpu_s") == 12
