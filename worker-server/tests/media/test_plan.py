"""Parts: nothing lost, nothing twice, none too long, none too short."""

import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import assume, given, strategies as st

from worker_server.media import EditError, Source, TimeRange, frame_size, plan_clips, plan_parts
from worker_server.media.model.geometry import Aspect, Fit, crop_box

RATES = st.one_of(
    st.sampled_from([Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(60)]),
    st.fractions(min_value=1, max_value=60, max_denominator=1001),
)
PART_SECONDS = st.decimals(2, 60, places=1).map(Fraction)
MS = Fraction(1, 1000)


def lasting(plain: Source, frame_count: int, rate: Fraction) -> Source:
    return replace(plain, frame_count=frame_count, frame_rate=rate, duration_s=frame_count / rate)


@given(st.integers(1, 20_000), RATES, st.sampled_from([1, 2, 10, 20, 60]))
def test_each_frame_is_in_exactly_one_part(
    plain_source: Source, frames: int, rate: Fraction, part_s: int
) -> None:
    parts = plan_parts(lasting(plain_source, frames, rate), part_s)
    assert [part.number for part in parts] == list(range(len(parts)))
    assert parts[0].start_frame == 0
    assert parts[-1].end_frame == frames
    assert all(earlier.end_frame == later.start_frame for earlier, later in pairwise(parts))
    assert all(0 < part.frame_count <= math.ceil(part_s * rate) for part in parts)


@given(st.integers(1, 20_000), RATES)
def test_cuts_are_at_whole_multiples_of_twenty_seconds(
    plain_source: Source, frames: int, rate: Fraction
) -> None:
    source = lasting(plain_source, frames, rate)
    parts = plan_parts(source)
    shared = len(parts) > 1 and (frames - math.ceil(20 * parts[-1].number * rate)) / rate < 1
    for part in parts[: -1 if shared else None]:
        assert 20 * part.number <= part.start_frame / rate < 20 * part.number + 1 / rate
    assert all(part.frame_count / rate >= 1 for part in parts) or len(parts) == 1


@given(st.integers(1, 20_000), RATES)
def test_short_last_part_shares_with_the_one_before(
    plain_source: Source, frames: int, rate: Fraction
) -> None:
    parts = plan_parts(lasting(plain_source, frames, rate))
    if len(parts) > 1 and parts[-1].start_frame < 20 * parts[-1].number * rate:
        before, last = parts[-2].frame_count, parts[-1].frame_count
        assert before - last in (0, 1)
        assert before / rate < 20


@pytest.mark.parametrize(
    ("duration_s", "lengths"),
    [
        ("0.04", ["0.04"]),
        ("20", ["20"]),
        ("20.04", ["10.04", "10"]),
        ("20.48", ["10.24", "10.24"]),
        ("21", ["20", "1"]),
        ("39.96", ["20", "19.96"]),
        ("40", ["20", "20"]),
        ("40.96", ["20", "10.48", "10.48"]),
        ("45", ["20", "20", "5"]),
    ],
)
def test_lengths_of_parts(plain_source: Source, duration_s: str, lengths: list[str]) -> None:
    parts = plan_parts(lasting(plain_source, int(Fraction(duration_s) * 25), Fraction(25)))
    assert [part.frame_count for part in parts] == [Fraction(length) * 25 for length in lengths]
    assert parts[-1].end_s == float(duration_s)


@pytest.mark.parametrize(
    ("size", "rotation", "sample_aspect", "expected"),
    [
        ((1920, 1080), 0, "1", (1920, 1080)),
        ((1280, 720), 0, "1", (1280, 720)),
        ((3840, 2160), 0, "1", (1920, 1080)),
        ((1080, 1920), 0, "1", (1056, 594)),
        ((1920, 1080), 90, "1", (1056, 594)),
        ((1920, 1080), 180, "1", (1920, 1080)),
        ((640, 480), 0, "1", (640, 360)),
        ((641, 361), 0, "1", (640, 360)),
        ((720, 576), 0, "64/45", (1024, 576)),
        ((720, 480), 0, "8/9", (640, 360)),
        ((8, 8), 0, "1", (32, 18)),
    ],
)
def test_frame_size(
    plain_source: Source,
    size: tuple[int, int],
    rotation: int,
    sample_aspect: str,
    expected: tuple[int, int],
) -> None:
    source = replace(
        plain_source,
        width=size[0],
        height=size[1],
        rotation=rotation,
        sample_aspect=Fraction(sample_aspect),
    )
    assert frame_size(source) == expected


@pytest.mark.parametrize("fit", Fit)
@pytest.mark.parametrize(
    ("aspect", "size", "expected"),
    [
        ("16:9", (3840, 2160), (1920, 1080)),
        ("9:16", (2160, 3840), (1080, 1920)),
        ("1:1", (2160, 2160), (1080, 1080)),
        ("4:5", (2160, 2700), (1080, 1350)),
        ("4:5", (3840, 2160), (1080, 1350)),
        ("source", (3840, 2160), (1920, 1080)),
        ("source", (2160, 3840), (1080, 1920)),
        ("source", (4000, 3000), (1440, 1080)),
        ("source", (5000, 1000), (1920, 384)),
        ("source", (2160, 2160), (1080, 1080)),
        ("source", (641, 361), (640, 360)),
        ("source", (16, 9), (16, 16)),
    ],
)
def test_frame_size_of_each_shape(
    plain_source: Source, aspect: str, size: tuple[int, int], expected: tuple[int, int], fit: Fit
) -> None:
    """As large as the source allows, and no larger than docs/openapi.yaml says."""
    source = replace(plain_source, width=size[0], height=size[1])
    assert frame_size(source, aspect=Aspect(aspect), fit=fit) == expected


@given(
    st.integers(1, 4096),
    st.integers(1, 4096),
    st.sampled_from([0, 90, 180, 270]),
    st.fractions(min_value=Fraction(1, 8), max_value=8, max_denominator=100),
)
def test_the_frame_is_16_to_9_and_the_crop_inside_the_source(
    plain_source: Source, width: int, height: int, rotation: int, aspect: Fraction
) -> None:
    source = replace(
        plain_source, width=width, height=height, rotation=rotation, sample_aspect=aspect
    )
    out_w, out_h = frame_size(source)
    assert (out_w * 9, out_w % 2, out_h % 2) == (out_h * 16, 0, 0)
    kept_w, kept_h, left, top = crop_box(source)
    upright_w, upright_h = source.upright_size
    assert 0 <= left <= left + kept_w <= upright_w
    assert 0 <= top <= top + kept_h <= upright_h
    assert min(kept_w, kept_h) > 0


SECONDS = st.decimals(0, 900, places=3).map(Fraction)


@given(st.integers(1, 20_000), RATES, SECONDS, st.one_of(st.none(), SECONDS), PART_SECONDS)
def test_each_frame_of_a_time_range_is_in_exactly_one_part(
    plain_source: Source,
    frames: int,
    rate: Fraction,
    start_s: Fraction,
    end_s: Fraction | None,
    part_s: Fraction,
) -> None:
    source = lasting(plain_source, frames, rate)
    inside = [
        frame
        for frame in range(frames)
        if frame / rate >= start_s - MS / 2 and (end_s is None or frame / rate < end_s - MS / 2)
    ]
    assume(inside)
    clips = plan_clips(source, [TimeRange(start_s, end_s)], part_s)
    parts = [clip.part for clip in clips]
    assert [frame for part in parts for frame in range(part.start_frame, part.end_frame)] == inside
    assert all(part.frame_count <= math.ceil(part_s * rate) for part in parts)
    assert len(parts) == 1 or min(part.frame_count for part in parts) >= min_frames(part_s, rate)


def min_frames(part_s: Fraction, rate: Fraction) -> int:
    """A part is at least a second long, or half of `part_s` where that is less, to one frame."""
    return max(1, math.floor(min(Fraction(1), part_s / 2) * rate) - 1)


@given(
    st.integers(1, 5000),
    RATES,
    st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=8),
    PART_SECONDS,
)
def test_segments_in_any_order_are_cut_one_by_one(
    plain_source: Source,
    frames: int,
    rate: Fraction,
    times: list[tuple[Fraction, Fraction]],
    part_s: Fraction,
) -> None:
    source = lasting(plain_source, frames, rate)
    time_ranges = [TimeRange(start, start + length) for start, length in times]
    assume(all(time_range.start_s * rate <= frames - 1 for time_range in time_ranges))
    clips = plan_clips(source, time_ranges, part_s)
    assert [clip.part.number for clip in clips] == list(range(len(clips)))
    alone = [plan_clips(source, [time_range], part_s) for time_range in time_ranges]
    assert [(clip.time_range, clip.part.start_frame, clip.part.end_frame) for clip in clips] == [
        (index, clip.part.start_frame, clip.part.end_frame)
        for index, own in enumerate(alone)
        for clip in own
    ]


@given(st.integers(2, 20_000), RATES, st.data())
def test_adjacent_time_ranges_share_no_frame(
    plain_source: Source, frames: int, rate: Fraction, data: st.DataObject
) -> None:
    """The times that tasks show, rounded to milliseconds or not, cut between the same frames."""
    cut = data.draw(st.integers(1, frames - 1))
    source = lasting(plain_source, frames, rate)
    for shown in (float(cut / rate), round(float(cut / rate), 3)):
        at_s = Fraction(str(shown))
        earlier = plan_clips(source, [TimeRange(Fraction(0), at_s)], 60)
        later = plan_clips(source, [TimeRange(at_s)], 60)
        assert earlier[-1].part.end_frame == later[0].part.start_frame == cut


def test_time_range_after_the_end_is_refused(plain_source: Source) -> None:
    source = lasting(plain_source, 250, Fraction(25))
    last = plan_clips(source, [TimeRange(Fraction("9.96"), Fraction(11))], 20)
    assert [(clip.part.start_frame, clip.part.end_frame) for clip in last] == [(249, 250)]
    for start_s in (Fraction("9.9996"), Fraction(10), Fraction(1000)):  # one is 10 s, rounded
        with pytest.raises(EditError) as caught:
            plan_clips(source, [TimeRange(), TimeRange(start_s, start_s + 1)], 20)
        assert (caught.value.code, caught.value.retryable) == ("edit_beyond_end", False)


@pytest.mark.parametrize(
    ("rate", "start_s", "end_s", "expected"),
    [
        (25, "9.97", None, 249),
        (25, "9.999", "10", 249),
        (25, "1.01", "1.03", 25),
        (25, "1.0396", "1.05", 26),  # 1.04, rounded to less
        (1, "0.2", "0.9", 0),
        (1, "3.2", "3.9", 3),
        (1, "9.5", "20", 9),
    ],
)
def test_time_range_without_a_frame_start_shows_the_frame_on_screen(
    plain_source: Source, rate: int, start_s: str, end_s: str | None, expected: int
) -> None:
    source = lasting(plain_source, 10 * rate, Fraction(rate))
    time_range = TimeRange(Fraction(start_s), None if end_s is None else Fraction(end_s))
    (clip,) = plan_clips(source, [time_range], 20)
    assert (clip.part.start_frame, clip.part.end_frame) == (expected, expected + 1)


def test_parts_without_number_are_refused(plain_source: Source) -> None:
    source = lasting(plain_source, 4 * 3600 * 25, Fraction(25))
    assert len(plan_clips(source, [TimeRange(), TimeRange()], 2)) == 14_400
    with pytest.raises(EditError) as caught:
        plan_clips(source, [TimeRange()] * 500, 2)
    assert caught.value.code == "edit_too_many_parts"


def test_source_facts_survive_json(plain_source: Source) -> None:
    assert Source.from_json(plain_source.to_json()) == plain_source
