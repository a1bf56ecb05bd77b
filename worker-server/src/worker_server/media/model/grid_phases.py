"""Where frames lie between the places of a grid: phases in frame durations, and best shifts."""

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

_HISTOGRAM_BINS = 64  # per frame duration
_MOST_ROUNDING = Fraction(1, 4)
_CLEAR_BINS = 4  # before and after the middle between two places


def most_frames_shift(ticks: Sequence[int], tick_s: Fraction, rate: Fraction) -> Fraction:
    """Return most frames' phase against a grid from the first: -1/2 … 1/2 frame durations."""
    bins = _phases(ticks, tick_s, rate)
    around = {each: sum(bins[(each + by) % _HISTOGRAM_BINS] for by in (-1, 0, 1)) for each in bins}
    best = max(around, key=lambda each: around[each])
    if best in (0, 1, _HISTOGRAM_BINS - 1):
        return Fraction(0)  # most frames are in phase with the first
    off = Fraction(2 * best + 1, 2 * _HISTOGRAM_BINS)
    return off - 1 if off > Fraction(1, 2) else off


def least_ambiguous_shift(ticks: Sequence[int], tick_s: Fraction, rate: Fraction) -> Fraction:
    """Return a shift with which few frames are halfway between two places: -1/2 … 1/2.

    There rounding would decide which one they take, and two frames might get the same.
    """
    bins = _phases(ticks, tick_s, rate)
    around = {
        each: sum(bins[(each + by) % _HISTOGRAM_BINS] for by in range(-_CLEAR_BINS, _CLEAR_BINS))
        for each in range(1, _HISTOGRAM_BINS)  # with a shift of -1/2 place 0 would be empty
    }
    middle = _HISTOGRAM_BINS // 2
    best = min(around, key=lambda each: (around[each], abs(each - middle)))
    return Fraction(best - middle, _HISTOGRAM_BINS)


def _phases(ticks: Sequence[int], tick_s: Fraction, rate: Fraction) -> Counter[int]:
    """Count frames by their phase against a grid from the first one, in bins of a frame."""
    numerator, denominator = per_tick(tick_s, rate)
    first = ticks[0]
    return Counter(
        (tick - first) * numerator % denominator * _HISTOGRAM_BINS // denominator for tick in ticks
    )


def count_on_grid(
    ticks: Sequence[int], tick_s: Fraction, rate: Fraction, shift: Fraction, tolerance: Fraction
) -> int:
    """Count the frames that are within `tolerance` of a place and the first ones there."""
    places = tick_s * rate
    denominator = math.lcm(places.denominator, shift.denominator, 2)
    scale, off = (
        places.numerator * (denominator // places.denominator),
        int(shift * denominator),
    )
    most, half = int(tolerance * denominator), denominator // 2
    first, previous, count = ticks[0], -1, 0
    for tick in ticks:
        position = (tick - first) * scale - off
        place = (position + half) // denominator
        if place > previous:
            count += abs(position - place * denominator) <= most
            previous = place
    return count


def count_exact(ticks: Sequence[int], tick_s: Fraction, rate: Fraction) -> int:
    """Count the frames that only rounding keeps from a place of their own, at the best shift."""
    rounding = max(2 * rate * tick_s, Fraction(2, _HISTOGRAM_BINS))  # of times, and of the shift
    shift = most_frames_shift(ticks, tick_s, rate)
    return count_on_grid(ticks, tick_s, rate, shift, min(rounding, _MOST_ROUNDING))


def per_tick(tick_s: Fraction, rate: Fraction) -> tuple[int, int]:
    """Return places per tick as two integers: with Fractions an hour of video takes a minute."""
    places = tick_s * rate
    return places.numerator, places.denominator
