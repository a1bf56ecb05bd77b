"""Repairs time stamps that restart, leap or go back, so that a source plays continuously.

Times are whole ticks of a stream's own clock, in the order of the packets. Pure functions.
"""

from collections import deque
from collections.abc import Collection, Iterator, Sequence, Set
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from statistics import median

# Number of packets after a discontinuity that decide whether the clock was reset or one stamp is
# wrong.
_PACKETS_AFTER_RESET = 8
# Number of packets before and after a stamp that goes back which decide whether those before were
# late; with fewer than the second none are.
_PACKETS_OF_CLOCK, _MIN_PACKETS_OF_CLOCK = 16, 6
# Share of a step by which clocks may differ that count as one.
_SAME_CLOCK = 0.75
# Packets between those whose distance tells the mean step: a multiple of common patterns of order.
_PACKETS_APART = 240
# With fewer packets, the first timestamp is not checked.
_MIN_PACKETS_AFTER_FIRST = 3
# Consecutive packets with hardly any time between them that mean a stopped clock.
STALLED_PACKETS = 3
# Seconds; discontinuities of sound and picture that differ by less are the same event.
_SAME_SHIFT_S = 1
# Sound packets within a gap of the picture that prove that the sound continued.
_COVERING_PACKETS = 10
# That sound is stored within so many packets of the picture; what is further away, with stamps of
# the gap all the same, is of another piece of a joined file.
_PACKETS_BESIDE = 8


@dataclass(frozen=True)
class Discontinuity:
    """From packet `index` on, `shift` ticks (in total) are added, so that times are continuous."""

    index: int
    shift: int


@dataclass(frozen=True)
class Timeline:
    """A stream's clock, corrected.

    `discontinuities` are in order; `outliers` are packets whose own stamp means nothing.
    """

    discontinuities: tuple[Discontinuity, ...] = ()
    outliers: frozenset[int] = frozenset()

    def shifts(self, count: int) -> list[int | None]:
        """Return for each of `count` packets what to add to its stamps; None for outliers."""
        deltas: list[int | None] = [0] * count
        for each in self.discontinuities:
            deltas[each.index :] = [each.shift] * (count - each.index)
        for index in self.outliers:
            deltas[index] = None
        return deltas


def find_timeline(
    times: Sequence[int | None], *, tolerance: int, max_gap: int, min_step: int = 1
) -> Timeline:
    """Return where the time stamps of a stream are discontinuous.

    `times` may go back by less than `tolerance` ticks for good reasons (pictures out of order,
    jitter); a step of more than `max_gap` ticks ahead is a discontinuity, not a pause. Steps below
    `min_step` ticks in a row are those of a stalled clock: muxers write such where stamps went
    back.
    """
    step, mean_step = typical_step(times, min_step), _mean_step(times)
    discontinuities: list[Discontinuity] = []
    stalled = _stalled(times, min_step)
    outliers = stalled | _wrong_first(times, tolerance, max_gap)
    outliers |= _late_before_stalled(times, stalled, step)
    shift, previous, before = 0, None, 0
    recent: deque[tuple[int, int]] = deque(maxlen=_PACKETS_OF_CLOCK)  # packets, corrected times
    for index, time in enumerate(times):
        if time is None:
            continue
        due = 0 if previous is None else previous + step * (index - before)
        if index in outliers:
            previous = time if index in stalled else previous
        elif previous is None:
            previous = time
        elif -tolerance <= time - previous <= max_gap:
            previous = max(previous, time) if tolerance > step else time
        elif (
            wrong := _wrong_stamps(recent, _known_from(times, index, shift), mean_step, tolerance)
        ) is not None:
            outliers |= wrong
            previous = due if index in wrong else time
        elif _clock_is_new(times, index, due - time, step):
            shift += due - time
            discontinuities.append(Discontinuity(index, shift))
            previous = time
        else:
            outliers.add(index)
            previous = due
        before = index
        if index not in outliers:
            recent.append((index, time + shift))
    return Timeline(tuple(discontinuities), frozenset(outliers))


def _wrong_first(times: Sequence[int | None], tolerance: int, max_gap: int) -> set[int]:
    """Return the first packet with a stamp, if it is far from those after it, which agree."""
    known = [(index, time) for index, time in enumerate(times) if time is not None]
    following = [time for _, time in known[1 : 1 + _PACKETS_AFTER_RESET]]
    if len(following) < _MIN_PACKETS_AFTER_FIRST:
        return set()
    index, first = known[0]
    agree = all(-tolerance <= later - earlier <= max_gap for earlier, later in pairwise(following))
    return {index} if agree and not -tolerance <= following[0] - first <= max_gap else set()


def typical_step(times: Sequence[int | None], min_step: int = 1) -> int:
    """Return the median distance of neighbouring packets in ticks, at least 1."""
    known = [(index, time) for index, time in enumerate(times) if time is not None]
    steps = [
        Fraction(later - earlier, end - begin) for (begin, earlier), (end, later) in pairwise(known)
    ]
    moving = [step for step in steps if step >= max(1, min_step)]
    return max(1, round(median(moving))) if moving else 1


def _mean_step(times: Sequence[int | None]) -> float:
    """Return the median distance of packets over many of them; 0 for fewer than two.

    Neighbours say little where pictures are out of order, or stamps jitter.
    """
    known = [(index, time) for index, time in enumerate(times) if time is not None]
    apart = min(_PACKETS_APART, len(known) // 4)
    steps = [
        (later - earlier) / (end - begin)
        for (begin, earlier), (end, later) in zip(known, known[apart:], strict=False)
        if begin < end
    ]
    return median(steps) if steps else 0.0


def interpolated(times: Sequence[int | None]) -> list[int]:
    """Return all times: those missing are interpolated, or at the ends spaced by the median."""
    known = [(index, time) for index, time in enumerate(times) if time is not None]
    spans = [
        (Fraction(later - earlier, end - begin), begin, earlier)
        for (begin, earlier), (end, later) in pairwise(known)
    ]
    step = median(span[0] for span in spans) if spans else Fraction(1)
    if not known:
        return list(range(len(times)))
    spans = [(step, *known[0]), *spans, (step, *known[-1])]
    ends = [known[0][0], *(index for index, _ in known[1:]), len(times)]
    filled: list[int] = []
    for (rate, index, time), end in zip(spans, ends, strict=True):
        filled += [time + round((number - index) * rate) for number in range(len(filled), end)]
    return filled


def _stalled(times: Sequence[int | None], min_step: int) -> set[int]:
    """Return the packets in runs of STALLED_PACKETS or more whose stamps hardly move."""
    indices: set[int] = set()
    row: list[int] = []
    previous: int | None = None
    for index, time in enumerate((*times, None)):
        is_stalled = time is not None and previous is not None and 0 <= time - previous < min_step
        if is_stalled:
            row.append(index)
        elif len(row) >= STALLED_PACKETS:
            indices.update(row)
        row = row if is_stalled else []
        previous = time
    return indices


def _late_before_stalled(times: Sequence[int | None], stalled: Set[int], step: int) -> set[int]:
    """Return the packets that are late by as long as the clock stands still after them.

    So muxers write what follows a stamp that is late.
    """
    late: set[int] = set()
    for index in stalled:
        if index - 1 in stalled or index < 2:
            continue
        before, last = times[index - 2 : index]
        count = next(number for number in range(1, len(times)) if index + number not in stalled)
        if before is not None and last is not None:
            late_by = last - before - step
            late |= {index - 1} if abs(late_by - count * step) <= step else set()
    return late


def _clock_is_new(times: Sequence[int | None], index: int, gap: int, step: int) -> bool:
    """Return whether later packets follow the new clock, `gap` ticks behind the old one."""
    time = times[index] or 0
    # Skip packets without a stamp: in MPEG-TS only the first audio frame of a PES packet has one.
    after = ((later, times[index + later]) for later in range(1, len(times) - index))
    following = list(
        islice(((n, later) for n, later in after if later is not None), _PACKETS_AFTER_RESET)
    )
    if not following:
        return False
    off = median(later - (time + n * step) for n, later in following)
    return abs(off) < abs(off - gap)


def _known_from(times: Sequence[int | None], index: int, shift: int) -> Iterator[tuple[int, int]]:
    """Yield the packets with a stamp from `index` on, and their times plus `shift`."""
    for number in range(index, len(times)):
        if (time := times[number]) is not None:
            yield number, time + shift


def _wrong_stamps(
    recent: Collection[tuple[int, int]],
    following: Iterator[tuple[int, int]],
    step: float,
    tolerance: int,
) -> set[int] | None:
    """Return which packets around the first one following have a wrong stamp, of one clock.

    Either that one, or those of the `recent` ones that are late. None where the clock after is
    another than that before, and where packets are too irregular to tell. Both are packets with
    their times.
    """
    first, first_time = next(following)
    after = [(first, first_time), *islice(following, _PACKETS_OF_CLOCK - 1)]
    if min(len(recent), len(after)) < _MIN_PACKETS_OF_CLOCK:
        return None
    clocks = {index: time - index * step for index, time in recent}
    clock = median(clocks.values())
    behind = clock - median(time - index * step for index, time in after)
    uneven = median(abs(each - clock) for each in clocks.values())
    if abs(behind) >= _SAME_CLOCK * step or uneven > step:
        return None
    late = {index for index, time in recent if time > first_time + tolerance}
    usual = max([step, *(clocks[index] - clock for index in late)])
    return {first} if abs(first_time - first * step - clock) > usual else late


def contradict_durations(spanned: int, duration_sum: int, tick_s: Fraction) -> bool:
    """Return whether stamps span twice or half of what the packets last, both in ticks.

    False where `duration_sum` is 0: not all durations are known.
    """
    margin = int(1 / tick_s)
    return duration_sum > 0 and not duration_sum / 2 - margin < spanned < duration_sum * 2 + margin


def match_sound(
    sound: Timeline,
    sound_tick_s: Fraction,
    video: Timeline,
    video_tick_s: Fraction,
    pictures_before: Sequence[int],
    first: int = 0,
) -> Timeline:
    """Return the sound's timeline with the picture's discontinuities, where both have them.

    So what was recorded together stays in sync; a gap in the sound alone becomes silence. Where the
    sound alone goes back a little, as at the joints of segments that were encoded one by one, its
    packets overlap, and it stays beside its picture.
    `pictures_before` has for each sound packet how many video packets are stored before it in the
    file, `first` is how many of the picture's discontinuities are before the sound begins.
    """
    matched, total_s = first, Fraction(0)
    if first:
        total_s = video.discontinuities[first - 1].shift * video_tick_s
    discontinuities = [Discontinuity(0, round(total_s / sound_tick_s))]
    starts = (Discontinuity(0, 0), *sound.discontinuities)
    for before, each in zip(starts, sound.discontinuities, strict=False):
        delta_s = (each.shift - before.shift) * sound_tick_s
        match = _same_discontinuity(
            video, video_tick_s, matched, delta_s, pictures_before[each.index]
        )
        if match is not None:
            matched = match + 1
            total_s = video.discontinuities[match].shift * video_tick_s
        elif delta_s > _SAME_SHIFT_S:
            total_s += delta_s
        discontinuities.append(Discontinuity(each.index, round(total_s / sound_tick_s)))
    return Timeline(tuple(discontinuities), sound.outliers)


def _same_discontinuity(
    video: Timeline, tick_s: Fraction, first: int, delta_s: Fraction, pictures_before: int
) -> int | None:
    """Return the index of the picture's discontinuity that matches the sound's, or None.

    Both shift the time by the same amount, `delta_s`. Of several such, the last one stored before
    the sound's is meant, else the next one. Where one of the joined pieces has no sound, the
    picture has two discontinuities and the sound one.
    """
    same = []
    for index in range(first, len(video.discontinuities)):
        before = video.discontinuities[index - 1].shift if index else 0
        if abs((video.discontinuities[index].shift - before) * tick_s - delta_s) < _SAME_SHIFT_S:
            same.append(index)
    passed = [index for index in same if video.discontinuities[index].index <= pictures_before]
    return passed[-1] if passed else next(iter(same), None)


def discontinuities_before_sound(
    video: Timeline,
    video_times: Sequence[int | None],
    video_tick_s: Fraction,
    first_sound_s: Fraction,
    pictures_before: int,
) -> int:
    """Count the picture's discontinuities before the sound begins, by the file's order.

    0 unless the sound begins on the same clock as the picture stored beside it. `pictures_before`
    is the number of the picture's packets before the first one of sound.
    """
    passed = sum(each.index <= pictures_before for each in video.discontinuities)
    if not passed:
        return 0
    since = video_times[video.discontinuities[passed - 1].index : pictures_before + 1]
    near_s = next(time for time in reversed(since) if time is not None) * video_tick_s
    return passed if abs(near_s - first_sound_s) < _SAME_SHIFT_S else 0


def without_gaps_under_sound(
    video: Timeline,
    video_times: Sequence[int | None],
    video_tick_s: Fraction,
    sound_times: Sequence[int | None],
    sound_tick_s: Fraction,
    pictures_before: Sequence[int],
) -> Timeline:
    """Return the picture's timeline without discontinuities that sound plays through.

    In such a gap the picture stood still. `pictures_before` is as of `match_sound`.
    """
    kept: list[Discontinuity] = []
    removed = 0
    starts = (Discontinuity(0, 0), *video.discontinuities)
    for before, each in zip(starts, video.discontinuities, strict=False):
        delta = each.shift - before.shift
        beside = range(each.index - _PACKETS_BESIDE, each.index + _PACKETS_BESIDE + 1)
        sound = [
            time
            for time, count in zip(sound_times, pictures_before, strict=True)
            if count in beside
        ]
        if delta < 0 and _sound_plays_through(
            video_times, each.index, video_tick_s, sound, sound_tick_s
        ):
            removed += delta
        else:
            kept.append(Discontinuity(each.index, each.shift - removed))
    return Timeline(tuple(kept), video.outliers)


def _sound_plays_through(
    video_times: Sequence[int | None],
    index: int,
    video_tick_s: Fraction,
    sound_times: Sequence[int | None],
    sound_tick_s: Fraction,
) -> bool:
    """Return whether sound has packets in the picture's gap before packet `index`."""
    before = video_times[max(0, index - _PACKETS_AFTER_RESET) : index]
    earlier = [time for time in before if time is not None]
    gap_start = (max(earlier) if earlier else 0) * video_tick_s / sound_tick_s
    gap_end = (video_times[index] or 0) * video_tick_s / sound_tick_s
    inside = sum(1 for time in sound_times if time is not None and gap_start < time < gap_end)
    return inside >= _COVERING_PACKETS
