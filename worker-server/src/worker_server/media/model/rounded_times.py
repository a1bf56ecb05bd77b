"""Times that a container has rounded to milliseconds, whatever its clock is now."""

from collections.abc import Sequence
from fractions import Fraction

MILLISECOND = Fraction(1, 1000)  # in seconds
# Ticks a millisecond, and times, from which on rounded times are no coincidence.
_FINE_CLOCK, _MANY = 8, 10


def as_milliseconds(ticks: Sequence[int], tick_s: Fraction) -> tuple[list[int], int] | None:
    """Return times in ms, and the tick that is 0, if all are rounded to ms on a finer clock.

    So they are in MP4 files that were FLV or Matroska before: one tick is not their rounding error.
    The first time may be another: muxers shift it by the audio encoder's delay (priming samples).
    """
    ms_a_tick, per = (tick_s / MILLISECOND).as_integer_ratio()
    if len(ticks) < _MANY or ms_a_tick * _FINE_CLOCK > per:
        return None
    for origin in ticks[:2]:
        if times := _rounded(ticks, origin, ms_a_tick, per):
            return times, origin
    return None


def _rounded(ticks: Sequence[int], origin: int, ms_a_tick: int, per: int) -> list[int] | None:
    """Return the times in units of `per`; None where one besides the first is not rounded."""
    times: list[int] = []
    for tick in ticks:
        time = (tick - origin) * ms_a_tick
        rounded = (2 * time + per) // (2 * per)
        if times and abs(time - rounded * per) > ms_a_tick:
            return None
        times.append(rounded)
    return times if len(set(times)) == len(times) else None
