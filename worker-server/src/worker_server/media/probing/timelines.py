"""Reads a source's time stamps, and applies the corrections that `timestamps` finds."""

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate, compress, pairwise
from pathlib import Path

from worker_server.media.model.containers import open_source, packets_of
from worker_server.media.model.ogg_chain import FirstLink
from worker_server.media.probing.flac_in_ogg import flac_start
from worker_server.media.probing.packet_scan import (
    DEMUXERS_WITH_DTS,
    MAX_REORDER,
    MIN_STEP_S,
    REORDER_TOLERANCE_S,
    max_gap_s,
    max_reorder,
)
from worker_server.media.probing.timestamps import (
    Timeline,
    contradict_durations,
    discontinuities_before_sound,
    find_timeline,
    interpolated,
    match_sound,
    typical_step,
    without_gaps_under_sound,
)

_REORDERED_SHARE = 0.02  # of time stamps that go back; with more, pictures are reordered
# Edit list entries end inside an audio packet, so the next may go back by up to one packet; links
# of a chained Ogg begin with packets that are decoded and not played.
_BLOCK_S = Fraction(1, 5)
# Times of Ogg beyond a year are below zero: where ffmpeg copies from the middle of a file, what is
# before the wanted time has negative granule positions, which have no sign.
_MAX_OGG_S = 365 * 86_400


@dataclass
class Stamps:
    """The stamps of one stream, packet by packet, in ticks."""

    tick_s: Fraction = Fraction(1)
    pts: list[int | None] = field(default_factory=list)
    order: list[int | None] = field(default_factory=list)  # DTS where stored, else PTS
    hidden: set[int] = field(default_factory=set)  # packets that an edit list hides
    is_cut: bool = False  # an edit list skips packets in the middle
    # How many video packets are stored before each packet.
    pictures_before: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    replaced: list[int | None] = field(default_factory=list)  # PTS as read, where others replace it

    def order_by_edits(self) -> None:
        """Order by presentation time if an edit list skips frames in the middle.

        After such a skip, DTS go back to the key frame before the next shown frame.
        """
        shown = [number for number in range(len(self.pts)) if number not in self.hidden]
        self.is_cut = any(shown[0] < number < shown[-1] for number in self.hidden if shown)
        if self.is_cut:
            self.order = [
                None if number in self.hidden else pts for number, pts in enumerate(self.pts)
            ]

    def drop_contradicting(self) -> None:
        """Discard PTS that are too far from their DTS."""
        most = max_reorder(self.order, self.tick_s)
        for number, (pts, order) in enumerate(zip(self.pts, self.order, strict=True)):
            if pts is not None and order is not None and abs(pts - order) > most:
                self.pts[number] = None

    def follow_durations(self) -> None:
        """Let each packet follow the one before where the stamps contradict the durations."""
        known = [time for time in self.pts if time is not None]
        spanned = known[-1] - known[0] if known else 0
        duration_sum = sum(self.durations) if min(self.durations[:-1], default=0) > 0 else 0
        if known and contradict_durations(spanned, duration_sum, self.tick_s):
            self.replaced = self.pts
            self.pts = [*accumulate(self.durations[:-1], initial=known[0])]
            self.order = [*self.pts]

    def shift_first(self, ticks: int) -> None:
        """Move the stamps up to the first one that goes back; all where none does."""
        if not ticks:
            return
        steps = enumerate(pairwise(self.order), 1)
        backward = (at for at, (time, later) in steps if (later or 0) < (time or 0))
        end = next(backward, len(self.order))
        self.replaced = self.pts
        self.pts, self.order = (
            [None if time is None else time + ticks for time in times[:end]] + times[end:]
            for times in (self.pts, self.order)
        )

    def as_read(self, shifts: list[int | None]) -> list[int | None]:
        """Return what to add to the PTS as read, of `shifts` of `pts`."""
        return [
            None if read is None or pts is None or shift is None else pts + shift - read
            for read, pts, shift in zip(self.replaced, self.pts, shifts, strict=True)
        ]

    def drop_repeated(self) -> None:
        """Discard a stamp that the next packet repeats, where only some packets have stamps.

        A stamp that is stored after the start of a picture belongs to the next picture, but
        libavformat gives it to both.
        """
        if None not in self.order:
            return
        for number, (time, following) in enumerate(pairwise(self.order)):
            if time is not None and time == following:
                self.pts[number] = self.order[number] = None


@dataclass(frozen=True)
class CorrectedTimes:
    """What to add to the stamps of each packet, in ticks; None where the stamp means nothing."""

    video: list[int | None]
    sound: list[int | None]
    picture_count: int  # packets of the picture, without those that an edit list hides
    video_ticks: list[int]  # corrected times of the pictures to be shown, sorted
    sound_end_s: Fraction


def correct_times(
    path: Path, demuxer: str, video_index: int, sound_index: int, hidden: frozenset[int]
) -> CorrectedTimes:
    """Read all packets of both streams; `hidden` numbers video packets that show no frame."""
    stamps = _read(path, demuxer, video_index, sound_index)
    video, sound = stamps[video_index], stamps.get(sound_index, Stamps())
    video_line, sound_line = _timelines(demuxer, video, sound)
    video_shifts = _shifts_of_stamped(video_line.shifts(len(video.pts)), video)
    sound_shifts = sound_line.shifts(len(sound.pts))
    shown = [number not in hidden for number in range(len(video.pts))]
    if None in compress(video.order, shown):
        ticks = set(compress(_times_by_order(video, video_line), shown))
    else:
        step = typical_step(video.order, _min_step(video))
        ticks = _presentation_times(
            list(compress(zip(video.pts, video_shifts, strict=True), shown)), step
        )
    ends = [
        pts + shift
        for pts, shift in zip(sound.pts, sound_shifts, strict=True)
        if pts is not None and shift is not None
    ]
    end_s = max(ends, default=0) * sound.tick_s
    picture_count = len(video.pts) - len(video.hidden)
    if sound.replaced:
        sound_shifts = sound.as_read(sound_shifts)
    return CorrectedTimes(video_shifts, sound_shifts, picture_count, sorted(ticks), end_s)


def _shifts_of_stamped(shifts: list[int | None], stamps: Stamps) -> list[int | None]:
    return [None if pts is None else shift for pts, shift in zip(stamps.pts, shifts, strict=True)]


def _presentation_times(stamps: list[tuple[int | None, int | None]], step: int) -> set[int]:
    """Return when each picture is shown: one without PTS, a `step` after the one before."""
    known = (
        pts + shift - step * (number + 1)
        for number, (pts, shift) in enumerate(stamps)
        if pts is not None and shift is not None
    )
    last, ticks = next(known, 0), set()
    for pts, shift in stamps:
        last = last + step if pts is None or shift is None else pts + shift
        ticks.add(last)
    return ticks


def _times_by_order(stamps: Stamps, line: Timeline) -> list[int]:
    """Return when pictures are shown, where only some packets have stamps.

    Missing DTS are interpolated. The set of PTS is that of DTS plus a constant delay.
    """
    shifts = line.shifts(len(stamps.order))
    corrected = [
        None if time is None or shift is None else time + shift
        for time, shift in zip(stamps.order, shifts, strict=True)
    ]
    delays = (
        pts - time
        for pts, time in zip(stamps.pts, stamps.order, strict=True)
        if pts is not None and time is not None
    )
    delay = next(delays, 0)
    return [time + delay for time in interpolated(corrected)]


def _read(path: Path, demuxer: str, video_index: int, sound_index: int) -> dict[int, Stamps]:
    stamps: dict[int, Stamps] = {}
    is_flac = False
    with open_source(path, demuxer) as container:
        wanted = [
            stream for stream in container.streams if stream.index in (video_index, sound_index)
        ]
        for stream in wanted:
            stamps[stream.index] = Stamps(stream.time_base or Fraction(1))
            is_flac |= stream.index == sound_index and stream.codec_context.name == "flac"
        # Of a chain only the first link begins there.
        is_flac &= not isinstance(getattr(container.file, "file", None), FirstLink)
        for packet in packets_of(container, *wanted):
            if not packet.size:
                continue
            of = stamps[packet.stream_index]
            of.pictures_before.append(len(stamps[video_index].pts))
            pts = packet.dts if demuxer == "avi" or packet.pts is None else packet.pts
            if demuxer == "ogg" and pts is not None and pts * of.tick_s > _MAX_OGG_S:
                pts = None
            if packet.is_discard:
                of.hidden.add(len(of.pts))
            dts = packet.dts if demuxer in DEMUXERS_WITH_DTS else None
            of.pts.append(pts)
            of.order.append(pts if dts is None else dts)
            of.durations.append(packet.duration or 0)
    if demuxer == "avi" and sound_index in stamps:
        stamps[sound_index].follow_durations()
    if demuxer == "ogg" and is_flac:
        # Later pages have the right stamps, which are before that of the first one.
        stamps[sound_index].shift_first(flac_start(path, stamps[sound_index].durations))
    for of in stamps.values():
        of.drop_contradicting()
        of.order_by_edits()
    stamps[video_index].drop_repeated()
    return stamps


def _timelines(demuxer: str, video: Stamps, sound: Stamps) -> tuple[Timeline, Timeline]:
    max_gap = max_gap_s(demuxer)
    # Of slow recordings neighbouring pictures are further apart than elsewhere a gap is.
    step = typical_step(video.order, _min_step(video))
    video_line = find_timeline(
        video.order,
        tolerance=_may_go_back(demuxer, video, step),
        max_gap=max(int(max_gap / video.tick_s), 2 * step),
        min_step=_min_step(video),
    )
    if not sound.pts:
        return video_line, Timeline()
    video_line = without_gaps_under_sound(
        video_line, video.order, video.tick_s, sound.order, sound.tick_s, sound.pictures_before
    )
    may_go_back = sound.is_cut or demuxer == "ogg"
    sound_line = find_timeline(
        sound.order,
        tolerance=int(_BLOCK_S / sound.tick_s) if may_go_back else 0,
        max_gap=int(max_gap / sound.tick_s),
    )
    first = next((time for time in sound.order if time is not None), 0) * sound.tick_s
    passed = discontinuities_before_sound(
        video_line, video.order, video.tick_s, first, sound.pictures_before[0]
    )
    return video_line, match_sound(
        sound_line, sound.tick_s, video_line, video.tick_s, sound.pictures_before, passed
    )


def _may_go_back(demuxer: str, video: Stamps, step: int) -> int:
    """Return by how many ticks the picture's stamps may go back, where they are not DTS."""
    reordered = demuxer not in DEMUXERS_WITH_DTS and _is_reordered(video.order)
    if not reordered and not video.is_cut:
        return 0
    return max(int(REORDER_TOLERANCE_S / video.tick_s), MAX_REORDER * step if reordered else 0)


def _min_step(video: Stamps) -> int:
    return int(MIN_STEP_S / video.tick_s) + 1


def _is_reordered(order: list[int | None]) -> bool:
    """Return whether more than `_REORDERED_SHARE` of stamps go back: PTS of reordered pictures."""
    known = [stamp for stamp in order if stamp is not None]
    backwards = sum(later < earlier for earlier, later in pairwise(known))
    return backwards > len(known) * _REORDERED_SHARE
