"""Finds the constant frame grid of a source from the times of its packets.

Headers are not trusted: phones write 90000/1 as the nominal rate, live WebM has no duration, and a
"29.97" file may be anything. Times are whole ticks of `tick_s` seconds.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

_STANDARD_RATES = [
    Fraction(rate)
    for rate in (
        "24000/1001",
        "24",
        "25",
        "30000/1001",
        "30",
        "48",
        "50",
        "60000/1001",
        "60",
        "120000/1001",
        "120",
    )
]
# A frame may sit this far from its place on the grid: containers round to milliseconds, muxers jitter.
_TOLERANCE = Fraction(2, 5)
# A grid with at least this share of its places filled is a recording that lost frames.
_MIN_FILLED = Fraction(9, 10)
_MAX_DENOMINATOR = 1001
_SNAP = Fraction(2, 10_000)  # 24 and 24000/1001 are five times further apart
_FALLBACK_RATE = Fraction(25)
# A seek aims this far behind a frame, so that rounding cannot miss it.
AIM_FRAMES = Fraction(1, 4)


@dataclass(frozen=True)
class Grid:
    """The rate of the clips, where the first frame's place is, and how many frames the source has at that rate."""

    rate: Fraction
    origin_s: Fraction
    frame_count: int
    is_constant: bool


def find_grid(
    ticks: Sequence[int],
    last_duration: int,
    tick_s: Fraction,
    hints: Sequence[Fraction],
    max_fps: int,
) -> Grid:
    """Return the grid of a source whose frames begin at `ticks` (sorted, no doubles, at least one).

    `last_duration` is in ticks, 0 if unknown; `hints` are the rates the header claims, best first.
    """
    measured = measured_rate(ticks, last_duration, tick_s)
    native, shift = _native_rate(ticks, tick_s, measured, hints)
    average = measured or next(iter(hints), _FALLBACK_RATE)
    exact = native or average.limit_denominator(_MAX_DENOMINATOR) or average
    rate = _bounded(exact, max_fps)
    origin_s = ticks[0] * tick_s + shift / exact
    last_s = ticks[-1] * tick_s - origin_s
    last_place = frame_index(last_s, rate)
    is_constant = native is not None and len(ticks) == frame_index(last_s, native) + 1
    if rate == native:
        return Grid(rate, origin_s, last_place + 1, is_constant)
    end_s = last_s + (last_duration * tick_s or 1 / exact)
    # Where frames are dropped, the last one may go; otherwise it is shown, however short.
    least = 1 if rate < exact else last_place + 1
    return Grid(rate, origin_s, max(least, frame_index(end_s, rate)), is_constant)


def frame_index(time_s: Fraction, rate: Fraction) -> int:
    """Return the grid place nearest to a time, halves upwards, as ffmpeg's `fps=round=near` has it."""
    return math.floor(time_s * rate + Fraction(1, 2))


def measured_rate(ticks: Sequence[int], last_duration: int, tick_s: Fraction) -> Fraction | None:
    """Return the average rate, or None where one frame says nothing about it."""
    if last_duration:
        return len(ticks) / ((ticks[-1] - ticks[0] + last_duration) * tick_s)
    return (len(ticks) - 1) / ((ticks[-1] - ticks[0]) * tick_s) if len(ticks) > 1 else None


def _native_rate(
    ticks: Sequence[int], tick_s: Fraction, measured: Fraction | None, hints: Sequence[Fraction]
) -> tuple[Fraction | None, Fraction]:
    """Return the rate on whose grid each frame has its own place, and by how many places that grid is shifted."""
    if len(ticks) == 1:
        return None, Fraction(0)
    average = measured or _FALLBACK_RATE
    claimed = list(_plausible(average, hints))
    counted = [
        rate
        for rate in (Fraction(round(average)), average.limit_denominator(_MAX_DENOMINATOR))
        if rate > 0
    ]
    for rates in (claimed, counted):
        if found := _gapless(ticks, tick_s, rates):
            return found
    holed = (rate for rate in (*claimed, *counted) if _has_places(ticks, tick_s, rate))
    return next(holed, None), Fraction(0)


def _plausible(measured: Fraction, hints: Sequence[Fraction]) -> Iterator[Fraction]:
    """Yield rates worth trying: claimed, then standard, if about so many frames were counted."""
    for rate in (*hints, *_STANDARD_RATES):
        if measured * Fraction(99, 100) < rate < measured / _MIN_FILLED:
            yield _snapped(rate)


def _gapless(
    ticks: Sequence[int], tick_s: Fraction, rates: Sequence[Fraction]
) -> tuple[Fraction, Fraction] | None:
    """Return the rate on whose grid frame k is nearest to place k, and the grid's shift; the first of equals."""
    best: tuple[Fraction, Fraction, Fraction] | None = None
    for rate in rates:
        spread, shift = _gapless_spread(ticks, tick_s, rate)
        if spread <= rate * tick_s:
            return rate, shift  # rounding to ticks explains all of it
        if spread <= 2 * _TOLERANCE and (best is None or spread < best[0]):
            best = spread, rate, shift
    return best[1:] if best else None


def _snapped(rate: Fraction) -> Fraction:
    """Return the standard rate a header means: 2997/100 and 23.98 are roundings."""
    nearest = min(_STANDARD_RATES, key=lambda standard: abs(standard - rate))
    return nearest if abs(nearest - rate) < nearest * _SNAP else rate


def _gapless_spread(
    ticks: Sequence[int], tick_s: Fraction, rate: Fraction
) -> tuple[Fraction, Fraction]:
    """Return how far apart frames are from being at place k each, and where to put the grid for that, in places.

    The first frame alone does not tell: muxers move it by the delay of the sound's codec.
    """
    numerator, denominator = _per_tick(tick_s, rate)
    first = ticks[0]
    lowest = highest = 0
    for number, tick in enumerate(ticks):
        off = (tick - first) * numerator - number * denominator
        lowest, highest = min(lowest, off), max(highest, off)
    # What rounding to milliseconds alone can do needs no shift.
    needs_shift = max(highest, -lowest) > _TOLERANCE * denominator
    shift = Fraction(lowest + highest, 2 * denominator) if needs_shift else Fraction(0)
    return Fraction(highest - lowest, denominator), shift


def _has_places(ticks: Sequence[int], tick_s: Fraction, rate: Fraction) -> bool:
    """Tell whether every frame has its own place on the grid of `rate`, and few places are empty."""
    numerator, denominator = _per_tick(tick_s, rate)
    first, previous = ticks[0], -1
    for tick in ticks:
        nearest = (2 * (tick - first) * numerator + denominator) // (2 * denominator)
        if nearest <= previous:
            return False
        previous = nearest
    return len(ticks) >= (previous + 1) * _MIN_FILLED


def _per_tick(tick_s: Fraction, rate: Fraction) -> tuple[int, int]:
    """Return places per tick as whole numbers: fractions would take a minute for an hour of video."""
    per_tick = tick_s * rate
    return per_tick.numerator, per_tick.denominator


def _bounded(rate: Fraction, max_fps: int) -> Fraction:
    """Bring a rate into 1 … `max_fps`, by a whole factor where one exists."""
    if rate < 1:
        return rate * -(-1 // rate)
    if rate <= max_fps:
        return rate
    divided = rate / -(-rate // max_fps)
    return divided if divided >= Fraction(5, 6) * max_fps else Fraction(max_fps)
