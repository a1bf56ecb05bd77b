"""Finds the constant frame grid of a source from the times of its packets.

Headers are not trusted: phones write 90000/1 as the nominal rate, live WebM has no duration, and a
"29.97" file may be anything. Times are whole ticks of `tick_s` seconds. A place is a frame's slot
on the grid, `k / rate` seconds after the first.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import pairwise
from statistics import median_low

from worker_server.media.model.grid_phases import (
    count_exact,
    count_on_grid,
    least_ambiguous_shift,
    most_frames_shift,
    per_tick,
)
from worker_server.media.model.rounded_times import MILLISECOND, as_milliseconds

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
# A frame may be this far from its place, in frame durations: containers round to milliseconds,
# muxers jitter.
_TOLERANCE = Fraction(2, 5)
# Rates up to the average divided by this are tried for a grid without gaps: a missing or a long
# last frame lowers the average.
_MIN_FILLED = Fraction(9, 10)
# A grid with gaps is accepted if this share of the frames lies near a place of its own.
_MIN_ON_GRID_SHARE = Fraction(99, 100)
_FILM_RATES = (Fraction(24000, 1001), Fraction(24))
# Pulldown shows film frames for two and three fields in turn (2:3 or 2:3:3:2): their distances from
# the places of an even grid then vary by 0.4 frame durations at most.
_PULLDOWN = Fraction(9, 20)
_MIN_TICKS_A_STEP = 8  # with fewer ticks between frames, one tick is more than a rounding error
_MIN_STEPPING = Fraction(97, 100)  # of the frames, that come whole steps after the one before
_MIN_SHARE = Fraction(1, 100)  # of all steps; rarer steps are treated as outliers
_FINER_STEPS = 3  # how many of the shortest common steps are tried
_ROUNDING_ONLY = Fraction(0)  # for `_gapless`: accept no deviation beyond rounding to ticks
# Distances from a place on the grid, in frame durations.
_NEAR_TOLERANCE, _ANY_OFFSET = Fraction(1, 4), Fraction(1, 2)
_FEW_STEPS = 4  # the most rates of one source, and of film among video
_SAME_STEP = Fraction(1, 200)  # relative difference below which two rates count as one
_MAX_DENOMINATOR = 1001
# Relative; 24 and 24000/1001 differ by five times as much.
_STANDARD_RATE_TOLERANCE = Fraction(2, 10_000)
_LONG_FRAME = Fraction(3, 2)  # frames; a last frame that lasts longer stays on screen
_FALLBACK_RATE = Fraction(25)
# A seek aims this far after a frame's start, so that rounding cannot miss the frame.
SEEK_OFFSET_FRAMES = Fraction(1, 4)


@dataclass(frozen=True)
class Grid:
    """The clips' frame rate, the time of place 0, and the number of places at that rate."""

    rate: Fraction
    origin_s: Fraction
    frame_count: int
    is_constant: bool


def find_grid(
    ticks: Sequence[int],
    last_duration: int,
    tick_s: Fraction,
    header_rates: Sequence[Fraction],
    max_fps: int,
) -> Grid:
    """Return the grid of a source whose frames begin at `ticks` (sorted, distinct, not empty).

    `last_duration` is in ticks, 0 if unknown; `header_rates` are the rates the header claims, best
    first.
    """
    if rounded := as_milliseconds(ticks, tick_s):
        times, origin = rounded
        last_ms = round(last_duration * tick_s / MILLISECOND)
        grid = _find_grid(times, last_ms, MILLISECOND, header_rates, max_fps)
        return replace(grid, origin_s=grid.origin_s + origin * tick_s)
    return _find_grid(ticks, last_duration, tick_s, header_rates, max_fps)


def _find_grid(
    ticks: Sequence[int],
    last_duration: int,
    tick_s: Fraction,
    header_rates: Sequence[Fraction],
    max_fps: int,
) -> Grid:
    measured = measured_rate(ticks, last_duration, tick_s)
    native, shift = _native_rate(ticks, tick_s, measured, header_rates, max_fps)
    average = measured or next(iter(header_rates), _FALLBACK_RATE)
    exact = native or average.limit_denominator(_MAX_DENOMINATOR) or average
    rate = _bounded(exact, max_fps)
    origin_s = ticks[0] * tick_s + shift / exact - _decimation_shift_s(exact, rate)
    last_s = ticks[-1] * tick_s - origin_s
    last_place = frame_index(last_s, rate)
    is_constant = native is not None and len(ticks) == frame_index(last_s, native) + 1
    if rate == native and last_duration * tick_s * rate < _LONG_FRAME:
        return Grid(rate, origin_s, last_place + 1, is_constant)
    end_s = last_s + (last_duration * tick_s or 1 / exact)
    # Where frames are dropped, the last one may go; otherwise it is shown, however short.
    least = 1 if rate < exact else last_place + 1
    return Grid(rate, origin_s, max(least, frame_index(end_s, rate)), is_constant)


def frame_index(time_s: Fraction, rate: Fraction) -> int:
    """Return the grid place nearest to a time, halves upwards, as ffmpeg's `fps=round=near`."""
    return math.floor(time_s * rate + Fraction(1, 2))


def measured_rate(ticks: Sequence[int], last_duration: int, tick_s: Fraction) -> Fraction | None:
    """Return the average rate in frames per second; None for one frame of unknown duration."""
    if last_duration:
        return len(ticks) / ((ticks[-1] - ticks[0] + last_duration) * tick_s)
    return (len(ticks) - 1) / ((ticks[-1] - ticks[0]) * tick_s) if len(ticks) > 1 else None


def _native_rate(
    ticks: Sequence[int],
    tick_s: Fraction,
    measured: Fraction | None,
    header_rates: Sequence[Fraction],
    max_fps: int,
) -> tuple[Fraction | None, Fraction]:
    """Return the rate whose grid has a place for each frame, or None, and the grid's shift.

    The shift is the distance of place 0 from the first frame, in frame durations.
    """
    if len(ticks) == 1:
        return None, Fraction(0)
    average = measured or _FALLBACK_RATE
    claimed = list(_plausible(average, header_rates))
    counted = [
        rate
        for rate in (Fraction(round(average)), average.limit_denominator(_MAX_DENOMINATOR))
        if rate > 0
    ]
    stepping = list(_gapped_rates(ticks, tick_s, header_rates, max_fps))
    finer = list(_finer_rates(ticks, tick_s, max_fps))
    jittering = list(_jittering_rates(ticks, tick_s, max_fps))
    return (
        _gapless(ticks, tick_s, claimed, at_most=_ROUNDING_ONLY)
        or _gapless(ticks, tick_s, counted, at_most=_ROUNDING_ONLY)
        or _gapless(ticks, tick_s, _film_rates(average), at_most=_PULLDOWN)
        or _stepping_grid(ticks, tick_s, stepping)
        or _gapless(ticks, tick_s, claimed, at_most=2 * _TOLERANCE)
        or _gapless(ticks, tick_s, counted, at_most=2 * _TOLERANCE)
        or _gapped_grid(ticks, tick_s, stepping, _NEAR_TOLERANCE)
        or _gapped_grid(ticks, tick_s, finer, _NEAR_TOLERANCE)
        or _gapped_grid(ticks, tick_s, jittering, _NEAR_TOLERANCE)
        or _grid_of_any_phase(ticks, tick_s, stepping)
        or (_has_few_steps(ticks) and _grid_of_any_phase(ticks, tick_s, finer))
        or _grid_of_any_phase(ticks, tick_s, jittering)
        or (None, Fraction(0))
    )


def _film_rates(average: Fraction) -> list[Fraction]:
    """Return the film rates near the average: film in 2:3 pulldown is not 60 fps with gaps."""
    return [rate for rate in _FILM_RATES if abs(rate - average) < rate * _SAME_STEP]


def _stepping_grid(
    ticks: Sequence[int], tick_s: Fraction, rates: Sequence[Fraction]
) -> tuple[Fraction, Fraction] | None:
    """Return the rate at which nearly every frame keeps step, and the grid's shift.

    Of several the one on whose grid most frames have a place: from frame to frame, times that are
    rounded to milliseconds fit 30 as well as 30000/1001.
    """
    fitting = [rate for rate in rates if _follows_whole_steps(ticks, tick_s, rate)]
    if not fitting:
        return None
    rate = max(fitting, key=partial(count_exact, ticks, tick_s))
    gapless = _gapless(ticks, tick_s, [rate], at_most=2 * _TOLERANCE)
    return gapless or (rate, most_frames_shift(ticks, tick_s, rate))


def _gapped_rates(
    ticks: Sequence[int], tick_s: Fraction, header_rates: Sequence[Fraction], max_fps: int
) -> Iterator[Fraction]:
    """Yield rates for a grid with gaps: by the commonest step between frames, then the header's."""
    steps = _steps(ticks)
    ((common, _),) = steps.most_common(1)
    yield from _rates_of_step(steps, common, tick_s)
    yield from (_nearest_standard_rate(rate) for rate in header_rates if rate <= max_fps)


def _finer_rates(ticks: Sequence[int], tick_s: Fraction, max_fps: int) -> Iterator[Fraction]:
    """Yield the rates of the shortest common steps between frames, then of their greatest divisor.

    In slides with some motion the most common step (a second) is longer than the finest one.
    """
    steps = _steps(ticks)
    usual = sorted(step for step, count in steps.items() if count >= _MIN_SHARE * steps.total())
    shown = [step for step in usual if step * tick_s * max_fps > 1 - _SAME_STEP]
    for step in (*shown[:_FINER_STEPS], math.gcd(*usual)):
        if step:
            rates = _rates_of_step(steps, step, tick_s)
            yield from (rate for rate in rates if rate <= max_fps)


def _jittering_rates(ticks: Sequence[int], tick_s: Fraction, max_fps: int) -> Iterator[Fraction]:
    """Yield the standard rates near the mean step of stamps that jitter, then its own.

    Steps over missing frames do not count. The jitter of those in a row cancels out.
    """
    steps = [later - earlier for earlier, later in pairwise(ticks)]
    usual = median_low(steps)
    reach = int(usual * _NEAR_TOLERANCE)
    near = [step for step in steps if abs(step - usual) <= reach]
    rate = 1 / (Fraction(sum(near), len(near)) * tick_s)
    standard = [each for each in _STANDARD_RATES if abs(each - rate) < rate * _SAME_STEP]
    for each in (
        *sorted(standard, key=lambda each: abs(each - rate)),
        rate.limit_denominator(_MAX_DENOMINATOR),
    ):
        if 0 < each <= max_fps:
            yield each


def _steps(ticks: Sequence[int]) -> Counter[int]:
    return Counter(later - earlier for earlier, later in pairwise(ticks))


def _rates_of_step(steps: Counter[int], step: int, tick_s: Fraction) -> Iterator[Fraction]:
    """Yield the rates a step may stand for: standard and whole ones near it, then exactly its own.

    A step is the distance between neighbouring frames, in ticks.
    """
    # Containers round: a step of 16 2/3 ms is stored as 16 or 17.
    spread = 1 if step >= _MIN_TICKS_A_STEP else 0
    near = {each: steps[each] for each in range(step - spread, step + spread + 1)}
    count = sum(near.values())
    mean = Fraction(sum(each * many for each, many in near.items()), count) if count else step
    rate = 1 / (mean * tick_s)
    yield from sorted(
        {
            each
            for each in (*_STANDARD_RATES, Fraction(round(rate)))
            if abs(each - rate) < rate * _SAME_STEP
        },
        key=lambda each: abs(each - rate),
    )
    yield 1 / (step * tick_s)


def _follows_whole_steps(ticks: Sequence[int], tick_s: Fraction, rate: Fraction) -> bool:
    """Return whether nearly every frame follows the previous one by whole steps, up to rounding.

    This also holds where pieces were joined and each is shifted against those before it, so that no
    grid fits all frames.
    """
    numerator, denominator = per_tick(tick_s, rate)
    rounding, kept = min(numerator, denominator // 4), 0
    for earlier, later in pairwise(ticks):
        off = (later - earlier) * numerator % denominator
        whole_steps = 2 * (later - earlier) * numerator >= denominator
        kept += whole_steps and min(off, denominator - off) <= rounding
    return kept >= (len(ticks) - 1) * _MIN_STEPPING


def _gapped_grid(
    ticks: Sequence[int], tick_s: Fraction, rates: Sequence[Fraction], tolerance: Fraction
) -> tuple[Fraction, Fraction] | None:
    """Return the first rate on whose grid nearly every frame has a place, and its shift."""
    for rate in rates:
        shift = most_frames_shift(ticks, tick_s, rate)
        if count_on_grid(ticks, tick_s, rate, shift, tolerance) >= _MIN_ON_GRID_SHARE * len(ticks):
            return rate, shift
    return None


def _grid_of_any_phase(
    ticks: Sequence[int], tick_s: Fraction, rates: Sequence[Fraction]
) -> tuple[Fraction, Fraction] | None:
    """Return the first rate whose grid has a place for nearly every frame, and its shift.

    Frames may be anywhere between two places, as those of film among video, or of a camera that
    slows down in the dark.
    """
    for rate in rates:
        shift = least_ambiguous_shift(ticks, tick_s, rate)
        kept = count_on_grid(ticks, tick_s, rate, shift, _ANY_OFFSET)
        if kept >= _MIN_ON_GRID_SHARE * len(ticks):
            return rate, shift
    return None


def _has_few_steps(ticks: Sequence[int]) -> bool:
    """Return whether a few steps, but for rounding, are nearly all: several rates, no jitter."""
    steps = _steps(ticks)
    missing = steps.total() * (1 - _MIN_STEPPING)
    for _ in range(_FEW_STEPS):
        ((common, _),) = steps.most_common(1) or ((0, 0),)
        near = max(1, int(common * _SAME_STEP))
        # Not by counting from step to step: in ticks of a nanosecond there are billions in between.
        for step in [each for each in steps if abs(each - common) <= near]:
            del steps[step]
    return steps.total() <= missing


def _plausible(measured: Fraction, header_rates: Sequence[Fraction]) -> Iterator[Fraction]:
    """Yield the header's rates, then standard ones, that are about the measured average."""
    for rate in (*header_rates, *_STANDARD_RATES):
        if measured * Fraction(99, 100) < rate < measured / _MIN_FILLED:
            yield _nearest_standard_rate(rate)


def _gapless(
    ticks: Sequence[int], tick_s: Fraction, rates: Sequence[Fraction], *, at_most: Fraction
) -> tuple[Fraction, Fraction] | None:
    """Return the rate on whose grid each frame k is near place k, and the grid's shift.

    The first rate that fits up to rounding wins. Else, of those with a spread within `at_most`,
    the one that fits most frames: one long step at the start makes the average a wrong rate.
    """
    best: tuple[int, Fraction, Fraction, Fraction] | None = None
    for rate in dict.fromkeys(rates):
        spread, shift = _gapless_spread(ticks, tick_s, rate)
        if spread <= min(_NEAR_TOLERANCE, rate * tick_s):
            return rate, shift  # the deviation is within rounding to ticks
        if spread <= at_most:
            usual = most_frames_shift(ticks, tick_s, rate)
            mismatches = len(ticks) - count_on_grid(ticks, tick_s, rate, usual, _NEAR_TOLERANCE)
            if best is None or (mismatches, spread) < best[:2]:
                best = mismatches, spread, rate, shift
    return best[2:] if best else None


def _nearest_standard_rate(rate: Fraction) -> Fraction:
    """Return the standard rate a header means: 2997/100 and 23.98 are roundings."""
    nearest = min(_STANDARD_RATES, key=lambda standard: abs(standard - rate))
    return nearest if abs(nearest - rate) < nearest * _STANDARD_RATE_TOLERANCE else rate


def _gapless_spread(
    ticks: Sequence[int], tick_s: Fraction, rate: Fraction
) -> tuple[Fraction, Fraction]:
    """Return the spread of the distances of frames k from places k, and the grid's best shift.

    Both are in frame durations. The first frame's time is not a reliable reference: muxers shift it
    by the audio encoder's delay (priming samples).
    """
    numerator, denominator = per_tick(tick_s, rate)
    first = ticks[0]
    lowest = highest = 0
    for number, tick in enumerate(ticks):
        off = (tick - first) * numerator - number * denominator
        lowest, highest = min(lowest, off), max(highest, off)
    # Within the tolerance the first frame's time is kept; larger deviations are centred.
    needs_shift = max(highest, -lowest) > _TOLERANCE * denominator
    shift = Fraction(lowest + highest, 2 * denominator) if needs_shift else Fraction(0)
    return Fraction(highest - lowest, denominator), shift


def _decimation_shift_s(exact: Fraction, rate: Fraction) -> Fraction:
    """Return how many seconds early a grid begins that keeps one of 2, 4, … frames; else 0.

    Otherwise frames would lie exactly between two places, and the rounding of their time stamps
    would decide which place they take.
    """
    factor = exact / rate
    is_even = factor.denominator == 1 and factor.numerator % 2 == 0
    return min(MILLISECOND, 1 / (2 * exact)) if is_even else Fraction(0)


def _bounded(rate: Fraction, max_fps: int) -> Fraction:
    """Bring a rate into 1 … `max_fps`, by a whole factor where one exists."""
    if rate < 1:
        return rate * -(-1 // rate)
    if rate <= max_fps:
        return rate
    divided = rate / -(-rate // max_fps)
    return divided if divided >= Fraction(5, 6) * max_fps else Fraction(max_fps)
