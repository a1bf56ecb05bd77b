"""The grid a source's packets are put on."""

from fractions import Fraction
from itertools import accumulate
from random import Random

import pytest
from hypothesis import given, strategies as st

from worker_server.media.model.frame_grid import find_grid, frame_index

STANDARD = [
    Fraction(rate)
    for rate in ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60")
]
MILLISECOND = Fraction(1, 1000)


def ticks_of(
    rate: Fraction, frames: int, tick_s: Fraction, first_s: Fraction = Fraction(0)
) -> list[int]:
    return [round((first_s + number / rate) / tick_s) for number in range(frames)]


@given(
    st.sampled_from(STANDARD),
    st.integers(30, 2000),
    st.sampled_from([MILLISECOND, Fraction(1, 90_000), Fraction(1, 12_800)]),
    st.fractions(min_value=0, max_value=100_000, max_denominator=90_000),
)
def test_a_constant_rate_is_found_exactly(
    rate: Fraction, frames: int, tick_s: Fraction, first_s: Fraction
) -> None:
    ticks = ticks_of(rate, frames, tick_s, first_s)
    grid = find_grid(ticks, 0, tick_s, [rate], 60)
    assert (grid.rate, grid.frame_count, grid.is_constant) == (rate, frames, True)
    assert [frame_index(tick * tick_s - grid.origin_s, grid.rate) for tick in ticks] == list(
        range(frames)
    )


@given(st.lists(st.integers(1, 300), min_size=1, max_size=300), st.integers(0, 300))
def test_any_times_get_a_grid_that_holds_them(gaps: list[int], last_duration: int) -> None:
    ticks = [sum(gaps[:index]) for index in range(len(gaps) + 1)]
    grid = find_grid(ticks, last_duration, MILLISECOND, [Fraction(90_000)], 60)
    assert 1 <= grid.rate <= 60
    thinned = grid.rate >= 50  # faster sources get 60, or their rate divided by a whole number
    assert (
        frame_index(ticks[-1] * MILLISECOND - grid.origin_s, grid.rate) < grid.frame_count + thinned
    )
    assert frame_index(ticks[0] * MILLISECOND - grid.origin_s, grid.rate) == 0
    length_s = (ticks[-1] + last_duration) * MILLISECOND
    assert abs(grid.frame_count / grid.rate - length_s) <= 2 / grid.rate + Fraction(
        last_duration, 1000
    )


@pytest.mark.parametrize(
    ("claimed", "expected"),
    [
        ("2997/100", Fraction(30000, 1001)),
        ("90000", Fraction(30000, 1001)),
        ("60000/1001", Fraction(30000, 1001)),
        ("1000", Fraction(30000, 1001)),
    ],
)
def test_absurd_header_rate_is_ignored(claimed: str, expected: Fraction) -> None:
    ticks = ticks_of(expected, 300, MILLISECOND)
    assert find_grid(ticks, 33, MILLISECOND, [Fraction(claimed)], 60).rate == expected


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        ("120000/1001", "60000/1001"),
        ("120", "60"),
        ("240", "60"),
        ("100", "50"),
        ("90", "60"),
        ("1/10", "1"),
        ("2/5", "6/5"),
    ],
)
def test_rate_is_clamped(rate: str, expected: str) -> None:
    ticks = ticks_of(Fraction(rate), 50, Fraction(1, 90_000))
    grid = find_grid(ticks, 0, Fraction(1, 90_000), [Fraction(rate)], 60)
    assert (grid.rate, grid.is_constant) == (Fraction(expected), True)


def test_a_first_frame_moved_by_the_sound_is_no_gap() -> None:
    ticks = [0, *(round((number + Fraction(58, 100)) * 512) for number in range(1, 100))]
    grid = find_grid(ticks, 512, Fraction(1, 12_800), [Fraction(25)], 60)
    assert (grid.rate, grid.frame_count, grid.is_constant) == (25, 100, True)


def test_a_recording_that_pauses_keeps_all_its_frames() -> None:
    ticks = [round((number + (number // 100) * Fraction(13, 10)) * 3000) for number in range(1000)]
    grid = find_grid(ticks, 3000, Fraction(1, 90_000), [Fraction(90_000)], 60)
    assert (grid.rate, grid.is_constant) == (30, False)
    places = [frame_index(tick * Fraction(1, 90_000) - grid.origin_s, grid.rate) for tick in ticks]
    assert len(set(places)) == 1000


@pytest.mark.parametrize("moved", ["-0.4", "-0.2", "0.1", "0.3", "0.45"])
@pytest.mark.parametrize("tick_s", [Fraction(1, 90_000), MILLISECOND])
def test_gaps_do_not_hide_that_the_first_frame_was_moved(moved: str, tick_s: Fraction) -> None:
    """All other frames lie at their places, not where rounding would choose between two."""
    shown = [number for number in range(600) if number % 60 < 50]
    moved_s = [Fraction(0), *(Fraction(number) - Fraction(moved) for number in shown[1:])]
    ticks = [round(frame / 30 / tick_s) for frame in moved_s]
    grid = find_grid(ticks, 0, tick_s, [Fraction(30)], 60)
    assert (grid.rate, grid.is_constant) == (30, False)
    places = [(tick * tick_s - grid.origin_s) * grid.rate for tick in ticks]
    assert [frame_index(place, Fraction(1)) for place in places] == shown
    off = [abs(place - number) for place, number in zip(places, shown, strict=True)]
    assert max(off[1:]) < Fraction(1, 10)


def at_60(frames: int) -> list[int]:
    """Return the steps of 60 frames a second in milliseconds: 17, 16, 17 and so on."""
    return [round((each + 1) * 1000 / 60) - round(each * 1000 / 60) for each in range(frames)]


@pytest.mark.parametrize(
    ("steps", "tick_s", "expected"),
    [
        ([10] * 9 + [30] * 11, Fraction(1, 100), 10),  # an animated GIF
        ([20, 30] * 10 + [50], Fraction(1, 100), 10),  # no picture stands for one place alone
        ([1000] * 60 + [40] * 30 + [1000] * 10, MILLISECOND, 25),  # slides, and one film in them
        ([2000] * 100 + at_60(80), MILLISECOND, 60),  # a screen that moves at the end
        ([3003] * 30 + [90_090] * 45, Fraction(1, 90_000), Fraction(30000, 1001)),
    ],
)
def test_grid_of_mostly_still_pictures_has_every_frame(
    steps: list[int], tick_s: Fraction, expected: Fraction
) -> None:
    ticks = [sum(steps[:index]) for index in range(len(steps) + 1)]
    grid = find_grid(ticks, steps[-1], tick_s, [Fraction(1000)], 60)
    assert grid.rate == expected
    places = [frame_index(tick * tick_s - grid.origin_s, grid.rate) for tick in ticks]
    assert len(set(places)) == len(ticks)
    assert places[-1] < grid.frame_count


@pytest.mark.parametrize("fields", [(2, 3), (3, 2), (2, 3, 3, 2)])
@pytest.mark.parametrize("film", [Fraction(24000, 1001), Fraction(24)])
@pytest.mark.parametrize("tick_s", [Fraction(1, 90_000), Fraction(1, 1_200_000), MILLISECOND])
def test_pulldown_is_the_rate_of_film(
    fields: tuple[int, ...], film: Fraction, tick_s: Fraction
) -> None:
    shown = [fields[number % len(fields)] for number in range(240)]
    starts = [sum(shown[:number]) for number in range(240)]
    ticks = [round(start / (film * 5 / 2) / tick_s) for start in starts]
    grid = find_grid(ticks, 0, tick_s, [film * 5 / 2, film], 60)
    assert (grid.rate, grid.frame_count, grid.is_constant) == (film, 240, True)
    places = [frame_index(tick * tick_s - grid.origin_s, grid.rate) for tick in ticks]
    assert places == list(range(240))


NTSC = Fraction(30000, 1001)
FILM, VIDEO = [Fraction(2), Fraction(3)], [Fraction(2), Fraction(2)]  # fields that a frame lasts


def as_pieces(*pieces: tuple[list[Fraction], int]) -> list[Fraction]:
    """Return the steps in seconds of pairs of frames of these fields, at 59.94 fields a second."""
    return [step / (2 * NTSC) for fields, pairs in pieces for step in fields * pairs]


def at(rate: int, frames: int) -> list[Fraction]:
    return [Fraction(1, rate)] * frames


@pytest.mark.parametrize("tick_s", [MILLISECOND, Fraction(1, 600), Fraction(1, 90_000)])
@pytest.mark.parametrize("claimed", [30, 25])
@pytest.mark.parametrize(
    ("steps_s", "expected"),
    [
        (as_pieces((FILM, 500), (VIDEO, 50)), NTSC),  # discs have both
        (as_pieces((FILM, 50), (VIDEO, 50), (FILM, 38), (VIDEO, 17), (FILM, 250)), NTSC),
        (at(30, 100) + at(24, 300), Fraction(30)),  # a phone in the dark
        (at(24, 300) + at(30, 100) + at(24, 100), Fraction(30)),
        (at(60, 100) + at(24, 900), Fraction(60)),
        (at(25, 900) + at(30, 100), Fraction(30)),
    ],
)
def test_no_frame_is_lost_where_the_rate_changes(
    steps_s: list[Fraction], expected: Fraction, claimed: int, tick_s: Fraction
) -> None:
    ticks = [round(time_s / tick_s) for time_s in accumulate(steps_s, initial=Fraction(0))]
    grid = find_grid(ticks, 0, tick_s, [Fraction(claimed)], 60)
    assert abs(grid.rate / expected - 1) < Fraction(1, 500)
    places = [frame_index(tick * tick_s - grid.origin_s, grid.rate) for tick in ticks]
    assert places[0] == 0
    assert len(set(places)) >= len(ticks) * Fraction(995, 1000)


def test_short_ticks_take_no_longer() -> None:
    """Of these twelve pictures in two hours the time grew with the length of a step in ticks."""
    seconds = [0, 391, 1111, 1799, 2071, 3693, 4011, 4597, 5101, 5827, 6473, 7207]
    grids = [
        find_grid(
            [second * per_s + second % 7 for second in seconds], 0, Fraction(1, per_s), [], 60
        )
        for per_s in (1000, 10**9)
    ]
    assert grids[0].frame_count == grids[1].frame_count


def test_single_frame_has_its_own_duration() -> None:
    grid = find_grid([0], 40, MILLISECOND, [], 60)
    assert (grid.rate, grid.frame_count) == (25, 1)


def test_a_single_still_is_repeated_to_its_end() -> None:
    grid = find_grid([0], 10_000, MILLISECOND, [], 60)
    assert (grid.rate, grid.frame_count) == (1, 10)


@pytest.mark.parametrize("rate", [Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30)])
@pytest.mark.parametrize("dropped", [0.005, 0.03])
@pytest.mark.parametrize("tick_s", [MILLISECOND, Fraction(1, 90_000)])
def test_jitter_around_missing_frames_loses_none(
    tick_s: Fraction, dropped: float, rate: Fraction
) -> None:
    """As phones record: no two steps are equal in a clock of 90 kHz."""
    random = Random(1)
    times_s = [number / rate + Fraction(random.gauss(0, 0.001)) for number in range(900)]
    kept = [time_s for time_s in times_s if random.random() >= dropped]
    ticks = sorted(round(1000 + time_s / tick_s) for time_s in kept)
    assert len(ticks) < 900
    grid = find_grid(ticks, 0, tick_s, [Fraction(len(ticks), 900) * rate], 60)
    assert grid.rate == rate
    places = {frame_index(tick * tick_s - grid.origin_s, rate) for tick in ticks}
    assert len(places) == len(ticks)


@given(
    st.sampled_from(STANDARD),
    st.sampled_from([0.2, 0.5]),
    st.sampled_from([MILLISECOND, *(Fraction(1, per_s) for per_s in (16_000, 15_360, 90_000))]),
    st.sampled_from([Fraction(0), Fraction(1, 2)]),
    st.integers(0, 5),
)
def test_missing_frames_of_times_in_milliseconds(
    rate: Fraction, dropped: float, tick_s: Fraction, rounding: Fraction, seed: int
) -> None:
    """As ffmpeg copies FLV and Matroska to MP4; some programs round down."""
    random = Random(seed)
    kept = [0, *(number for number in range(1, 1500) if random.random() >= dropped)]
    times_ms = [int(number / rate / MILLISECOND + rounding) for number in kept]
    ticks = [round(time_ms * MILLISECOND / tick_s) for time_ms in times_ms]
    grid = find_grid(ticks, 0, tick_s, [Fraction(16_000)], 60)
    assert (grid.rate, grid.is_constant) == (rate, False)
    assert [frame_index(tick * tick_s - grid.origin_s, rate) for tick in ticks] == kept


@pytest.mark.parametrize("slower", ["24", "20", "15", "10"])
@pytest.mark.parametrize("per_s", [1000, 16_000, 15_360, 90_000])
@pytest.mark.parametrize("moved_s", [Fraction(0), Fraction(1024, 48_000), Fraction(1024, 44_100)])
def test_two_rates_by_turns_in_milliseconds(moved_s: Fraction, per_s: int, slower: str) -> None:
    """A grid of 1000/33 fps, the commonest step, would repeat one frame in a hundred.

    The first frame may be early by the priming samples of the sound.
    """
    steps = ([1 / Fraction(30)] * 100 + [1 / Fraction(slower)] * 50) * 4
    times_ms = [round(time_s * 1000) for time_s in accumulate(steps, initial=Fraction(0))]
    ticks = [0, *(round(per_s * (Fraction(ms, 1000) + moved_s)) for ms in times_ms[1:])]
    grid = find_grid(ticks, 0, Fraction(1, per_s), [], 60)
    assert grid.rate == 30
    places = [frame_index(Fraction(tick, per_s) - grid.origin_s, grid.rate) for tick in ticks]
    assert len(set(places)) == len(ticks)


@pytest.mark.parametrize("frames", [2, 3, 4])
def test_few_frames_are_not_taken_for_milliseconds(frames: int) -> None:
    tick_s = Fraction(1, 90_000)
    assert find_grid(ticks_of(Fraction(30), frames, tick_s), 0, tick_s, [], 60).rate == 30
