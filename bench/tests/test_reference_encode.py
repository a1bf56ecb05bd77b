"""A setting reaches a goal only where it does on every source, in size and in quality."""

from bench.reference_encode import comparisons, goals_reached

_BASE = {"size_bytes": 100.0, "vmaf_mean": 94.0, "vmaf_low": 92.0}


def _sample(size_bytes: float, mean: float, low: float) -> dict[str, float]:
    return {"size_bytes": size_bytes, "vmaf_mean": mean, "vmaf_low": low}


def test_one_source_beyond_the_bound_misses_the_goal() -> None:
    good = (_sample(90, 94.0, 92.0), _BASE)
    too_large = (_sample(130, 95.0, 93.0), _BASE)
    assert goals_reached({"bunny": good}) == ["fast", "balanced", "small"]
    assert goals_reached({"bunny": good, "bikes": too_large}) == ["fast"]


def test_the_one_percent_low_counts_as_much_as_the_mean() -> None:
    assert goals_reached({"bunny": (_sample(90, 94.0, 91.4), _BASE)}) == []
    assert goals_reached({"bunny": (_sample(90, 94.0, 91.6), _BASE)}) == ["fast", "balanced"]


def test_bytes_and_both_margins_are_compared() -> None:
    rows = comparisons("bunny", "ours", _sample(120, 94.1, 91.0), _BASE)
    assert [(c.ratio.median, c.is_reached) for c in rows] == [
        (1.2, True),
        (94.1 - 94.0, True),
        (-1.0, False),
    ]
