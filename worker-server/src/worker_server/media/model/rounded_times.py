"""Times that a container has rounded to milliseconds, whatever its clock is now."""

from collections.abc import Sequence
from fractions import Fraction

MILLISECOND = Fraction(1, 1000)  # in seconds
_FINE_CLOCK = 8  # ticks a millisecond from which rounded times are no coincidence


def as_milliseconds(ticks: Sequence[int], tick_s: Fraction) -> list[int] | None:
    """Return the times since the first in ms if all are rounded to those, on a finer clock.

    So they are in MP4 files that were FLV or Matroska before: one tick is not their rounding error.
    """
    numerator, denominator = (tick_s / MILLISECOND).as_integer_ratio()
    if len(ticks) == 1 or numerator * _FINE_CLOCK > denominator:
        return None
    times = []
    for tick in ticks:
        doubled = 2 * (tick - ticks[0]) * numerator
        time_ms = (doubled + denominator) // (2 * denominator)
        if abs(doubled - 2 * time_ms * denominator) > 2 * numerator:
            return None
        times.append(time_ms)
    return times if len(set(times)) == len(times) else None
