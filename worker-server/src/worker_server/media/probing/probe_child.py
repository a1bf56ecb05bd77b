"""Probes a source inside a child process, so that a hostile file can harm only that process.

Run by `Prober`: takes a path, a demuxer and limits, answers `{"source": …}` or `{"error": …}`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.logging
from av import AudioStream, VideoFrame, VideoStream
from av.container import InputContainer

from worker_server.media.errors import SourceError
from worker_server.media.model.colour import format_has_alpha
from worker_server.media.model.containers import open_source
from worker_server.media.model.edit import SEEK_MARGIN_S
from worker_server.media.model.frame_grid import Grid, find_grid, frame_index, measured_rate
from worker_server.media.model.source import Preparation, ProbeLimits, Source
from worker_server.media.probing.colour_tags import ColourTags
from worker_server.media.probing.completeness import check_complete, lacks_index
from worker_server.media.probing.cropping import shown_box
from worker_server.media.probing.display_order import lacks_display_times
from worker_server.media.probing.dolby_vision import check_base_layer
from worker_server.media.probing.ebml import names_cues
from worker_server.media.probing.key_frames import index_is_right
from worker_server.media.probing.packet_scan import PacketScanner, Scan
from worker_server.media.probing.pictures import PictureShape, shapes_of
from worker_server.media.probing.protection import check_protection, is_encrypted
from worker_server.media.probing.sound_layouts import (
    replace_own_order,
    right_of,
    selection_of,
)
from worker_server.media.probing.sound_preroll import preroll_s
from worker_server.media.probing.streams import choose_video, ranked_sounds, streams_without_covers
from worker_server.media.probing.timelines import correct_times
from worker_server.media.process.child_main import serve_one_request

_MAX_MEASURED_RATE = 1000
# Demuxers that seek by estimating a byte position, and so may land after the wanted key frame.
_GUESSING_DEMUXERS = {"mpegts", "flv", "avi"}
# Demuxers that cannot seek exactly either, and whose streams lack time stamps or cannot be remuxed.
_DECODED_DEMUXERS = {"mpeg", "asf", "ogg", "gif", "apng"}
# Seeking by reading from the start costs less than a remux below this size.
_MIN_SOUGHT_BYTES = 32 * 1024 * 1024
# Codecs pad sound to whole blocks; sound that outlasts the picture by more than this is kept.
_MAX_SOUND_EXCESS_S = Fraction(1, 10)
_NO_INDEX = (
    "The video is cut off: it has no index (moov), as after a recording or a transfer that was"
    " interrupted."
)
_BT2020 = 9  # primaries of HDR, by ISO/IEC 23091-2
_SAME_ASPECT = 0.1  # share by which the aspect ratio of a scaled picture differs, by rounding
_EQUAL_ASPECT = Fraction(2, 100)  # relative difference below which aspect ratios count as one


@dataclass(frozen=True)
class Facts:
    """What reading the source found, from which the answer is made."""

    path: Path
    demuxer: str
    limits: ProbeLimits
    container: InputContainer
    video: VideoStream
    sound: AudioStream | None
    scan: Scan
    frame: VideoFrame
    shapes: list[PictureShape]
    is_cropped: bool  # by the container
    needs_channel_map: bool  # of the sound's channels, before they are mixed
    is_paired: bool  # the sound has its right channel in another track

    @property
    def irregular(self) -> str:
        """Why the source must be decoded once before it can be cut; empty where it need not."""
        sound = self._irregular_sound
        changes = "the picture's format changes" if len(self.shapes) > 1 else ""
        decoded = "the container cannot be cut" if self.demuxer in _DECODED_DEMUXERS else ""
        cropped = "the container crops its pictures" if self.is_cropped else ""
        turned = "interlaced pictures are turned" if self._turns_fields else ""
        return self.scan.irregular or changes or sound or decoded or cropped or turned

    @property
    def is_interlaced(self) -> bool:
        return self.scan.may_be_interlaced or any(shape.interlaced for shape in self.shapes)

    @property
    def _turns_fields(self) -> bool:
        """Return whether pictures are turned that must be deinterlaced first.

        ffmpeg turns pictures before all filters; then lines are no longer those of the fields.
        """
        shape = self.shapes[0]
        return self.is_interlaced and (shape.rotation != 0 or shape.mirrored)

    @property
    def _irregular_sound(self) -> str:
        if self.sound is None:
            return ""
        mixed = "the sound's channels cannot be mixed" if self.needs_channel_map else ""
        paired = "left and right are tracks of their own" if self.is_paired else ""
        return self.scan.sounds[self.sound.index].irregular or mixed or paired


def read_facts(path: Path, demuxer: str, limits: ProbeLimits) -> Source:
    """Read every packet of the source and return its facts.

    Raise SourceError for what cannot become clips.
    """
    try:
        return _read_facts(path, demuxer, limits)
    except SourceError as error:
        if error.code == "source_has_no_video" and lacks_index(path, demuxer):
            raise SourceError("source_damaged", _NO_INDEX) from error
        raise
    except av.error.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise  # the parent reports the memory limit, not a damaged video
        if is_encrypted(path, demuxer):
            raise SourceError("source_protected", "The video is encrypted.") from error
        if lacks_index(path, demuxer):
            raise SourceError("source_damaged", _NO_INDEX) from error
        raise SourceError("source_damaged", f"The video is damaged: {error.strerror}.") from error


def _read_facts(path: Path, demuxer: str, limits: ProbeLimits) -> Source:
    with open_source(path, demuxer) as container:
        video = choose_video(container, path, demuxer, limits)
        tags = ColourTags.of(video)
        check_protection(container, path, demuxer, video)
        sounds = ranked_sounds(container, path, demuxer, video)
        scan = PacketScanner(container, video, list(sounds), demuxer, limits).run()
        if scan.frame is None or not scan.ticks or video.time_base is None:
            raise SourceError("source_damaged", "The video has no frame that can be decoded.")
        check_base_layer(scan.frame)
        if demuxer != "avi" and lacks_display_times(path, demuxer, video.index):
            scan.note("the pictures' times are those of decoding")
        if _is_seekable(container, path, demuxer, video, scan) and not index_is_right(
            container, video, max(scan.ticks)
        ):
            scan.note("the index names no key frames")
        # A stream that is declared but has no packets is ignored.
        heard = [each for each in sounds if scan.sounds[each.index].packets]
        sound = heard[0] if heard else None
        needs_channel_map = sound is not None and _needs_channel_map(sound)
        box = shown_box(container, path, demuxer, video)
        tags.complete(scan.frame)
        shapes = [
            shape.cropped(box)
            for shape in shapes_of(video, scan.frame, scan.shapes.values(), limits, tags)
        ]
        return _source(
            Facts(
                path,
                demuxer,
                limits,
                container,
                video,
                sound,
                scan,
                scan.frame,
                shapes,
                is_cropped=box is not None,
                needs_channel_map=needs_channel_map,
                is_paired=sound is not None
                and not needs_channel_map
                and right_of(sound, heard) is not None,
            )
        )


def _needs_channel_map(sound: AudioStream) -> bool:
    context = sound.codec_context
    return (replace_own_order(context) or selection_of(context.layout)) is not None


def _source(facts: Facts) -> Source:
    scan, video, frame, sound = facts.scan, facts.video, facts.frame, facts.sound
    tick_s = video.time_base or Fraction(1)
    ticks, sound_end_s = _frame_times(facts)
    end_s = max(scan.end_s, sound_end_s, (ticks[-1] + scan.last_duration) * tick_s)
    check_complete(facts.container, facts.path, facts.demuxer, end_s)
    _check_speed(ticks, scan.last_duration, tick_s, facts.limits)
    grid = find_grid(ticks, scan.last_duration, tick_s, _header_rates(video), facts.limits.max_fps)
    frame_count = _frame_count(grid, sound_end_s)
    keyframe_delay_s = _keyframe_delay_s(facts, grid.rate)
    first = facts.shapes[0]
    # Of a source with HDR and SDR the normalized form is HDR.
    shown = next((shape for shape in facts.shapes if shape.hdr_transfer), first)
    largest = max((*facts.shapes, *_resized(first, facts)), key=lambda shape: shape.pixels)
    return Source(
        demuxer=facts.demuxer,
        size_bytes=facts.path.stat().st_size,
        duration_s=frame_count / grid.rate,
        video_index=video.index,
        video_codec=video.codec_context.name,
        width=largest.width,
        height=largest.height,
        pix_fmt=_pix_fmt(facts),
        sample_aspect=largest.sample_aspect,
        rotation=first.rotation,
        varies=_aspect_varies(facts),
        mirrored=first.mirrored,
        interlaced=facts.is_interlaced,
        colour_matrix=shown.matrix,
        colour_primaries=_BT2020 if shown is not first else int(frame.color_primaries),
        colour_transfer=shown.hdr_transfer or int(frame.color_trc),
        full_range=shown.full_range,
        frame_rate=grid.rate,
        is_vfr=not grid.is_constant,
        frame_count=frame_count,
        packet_count=scan.packets,
        origin_s=grid.origin_s,
        last_pts_s=ticks[-1] * tick_s,
        reorder_delay_s=scan.reorder_ticks * tick_s,
        seeks_by_pts=keyframe_delay_s is not None,
        keyframe_reorder_delay_s=keyframe_delay_s or Fraction(0),
        is_indexed=video.frames >= scan.packets,
        video_streams=len(facts.container.streams.video),
        has_audio=sound is not None,
        audio_index=sound.index if sound else -1,
        audio_codec=sound.codec_context.name if sound else "",
        audio_channels=sound.codec_context.channels if sound else 0,
        preparation=_preparation(facts),
        irregular=facts.irregular,
    )


def _keyframe_delay_s(facts: Facts, rate: Fraction) -> Fraction | None:
    """Return PTS minus DTS of every key frame; None where parts cannot be read from there on.

    In MP4 sound is read from the key frame's DTS on, which must leave its decoder the pre-roll.
    """
    if facts.demuxer != "mov":
        return None
    delay_s = facts.scan.keys.reorder_delay_s(facts.container, facts.video, rate)
    if facts.sound is None or not delay_s:
        return delay_s
    seen = facts.scan.sounds[facts.sound.index]
    needed_s = preroll_s(facts.sound.codec_context.name, seen.longest * seen.tick_s)
    return delay_s if delay_s >= needed_s else None


def _pix_fmt(facts: Facts) -> str:
    """Return the pixel format of the first pictures; of those with alpha, if there are any."""
    formats = [shape.pix_fmt for shape in facts.shapes]
    codec = facts.video.codec_context.name
    return next((each for each in formats if format_has_alpha(each, codec)), formats[0])


def _aspect_varies(facts: Facts) -> bool:
    """Return whether pictures differ in shape, so that no frame fits all of them."""
    shapes, first = facts.shapes, facts.shapes[0]
    sizes = (replace(first, width=width, height=height) for width, height in facts.scan.sizes)
    aspects = [shape.aspect for shape in (*shapes, *sizes)]
    return max(aspects) > min(aspects) * (1 + _EQUAL_ASPECT)


def _resized(first: PictureShape, facts: Facts) -> Iterator[PictureShape]:
    """Yield the picture in each size that it has between key frames.

    Encoders of calls begin small and keep the aspect ratio; a damaged packet has any other size.
    """
    for width, height in facts.scan.sizes:
        is_scaled = abs(width * first.height / (height * first.width) - 1) < _SAME_ASPECT
        if is_scaled and facts.limits.allow_size(width, height):
            yield replace(first, width=width, height=height)


def _preparation(facts: Facts) -> Preparation:
    if facts.irregular:
        return Preparation.NORMALIZE
    is_seekable = _is_seekable(facts.container, facts.path, facts.demuxer, facts.video, facts.scan)
    return Preparation.NONE if is_seekable and not _has_early_sound(facts) else Preparation.REMUX


def _is_seekable(
    container: InputContainer, path: Path, demuxer: str, video: VideoStream, scan: Scan
) -> bool:
    """Return whether parts can be sought in the file itself, not only in a remuxed copy."""
    # libavformat seeks by its default stream, which may be another than the chosen one; cover art
    # it is not.
    several = len(streams_without_covers(container)) > 1
    fragmented = demuxer == "mov" and video.frames < scan.packets
    is_indexed = demuxer not in _GUESSING_DEMUXERS | _DECODED_DEMUXERS
    return is_indexed and not several and not fragmented and not _is_read_from_start(path, demuxer)


def _is_read_from_start(path: Path, demuxer: str) -> bool:
    """Return whether each seek would read much of the file, up to the wanted time.

    So it is in Matroska without Cues, as browsers record it.
    """
    is_long = path.stat().st_size >= _MIN_SOUGHT_BYTES
    return demuxer == "matroska" and is_long and not names_cues(path)


def _has_early_sound(facts: Facts) -> bool:
    """Return whether reading from a key frame on would miss sound that is stored before it.

    Encoders with lookahead deliver the pictures of a slow recording late, and muxers do not wait
    for them. MP4 is safe, as its index has each stream's own positions.
    """
    if facts.sound is None or facts.demuxer == "mov":
        return False
    return facts.scan.sounds[facts.sound.index].lead_s > SEEK_MARGIN_S


def _frame_times(facts: Facts) -> tuple[Sequence[int], Fraction]:
    """Return when each frame is shown, sorted, in ticks, and when the sound ends."""
    scan, sound = facts.scan, facts.sound
    if facts.irregular:
        corrected = correct_times(
            facts.path,
            facts.demuxer,
            facts.video.index,
            sound.index if sound else -1,
            frozenset(scan.hidden),
        )
        ticks: Sequence[int] = corrected.video_ticks
        sound_end_s = corrected.sound_end_s
    else:
        ticks = sorted(set(scan.ticks))
        sound_end_s = scan.sounds[sound.index].end_s if sound else Fraction(0)
    return _decodable(ticks, facts) or [0], sound_end_s


def _decodable(ticks: Sequence[int], facts: Facts) -> Sequence[int]:
    """Drop packets before the first decodable frame: a stream may begin in an open GOP."""
    first = facts.frame.pts
    if facts.demuxer == "avi" or first is None or ticks[0] >= first:
        return ticks
    if facts.irregular and first not in ticks:
        return ticks  # a wrong timestamp that has been corrected
    return [tick for tick in ticks if tick >= first]


def _frame_count(grid: Grid, sound_end_s: Fraction) -> int:
    """Return the frames of picture and sound: the last picture is held while sound continues."""
    excess_s = sound_end_s - grid.origin_s - grid.frame_count / grid.rate
    if excess_s < _MAX_SOUND_EXCESS_S:
        return grid.frame_count
    return max(grid.frame_count, frame_index(sound_end_s - grid.origin_s, grid.rate))


def _check_speed(
    ticks: Sequence[int], last_duration: int, tick_s: Fraction, limits: ProbeLimits
) -> None:
    if (ticks[-1] - ticks[0]) * tick_s > limits.max_duration_s:
        raise SourceError(
            "source_too_long", f"The video is longer than {limits.max_duration_s:g} s."
        )
    rate = measured_rate(ticks, last_duration, tick_s)
    if rate and len(ticks) > 1 and rate > _MAX_MEASURED_RATE:
        raise SourceError(
            "source_limits", f"The video has more than {_MAX_MEASURED_RATE} frames a second."
        )


def _header_rates(video: VideoStream) -> list[Fraction]:
    claimed = (
        video.guessed_rate,
        video.base_rate,
        video.average_rate,
        video.codec_context.framerate,
    )
    return [Fraction(rate) for rate in claimed if rate]


def reply(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the source's facts, or why no clips can be made of it."""
    try:
        source = read_facts(
            Path(payload["path"]), payload["demuxer"], ProbeLimits.from_json(payload["limits"])
        )
    except SourceError as error:
        return {"error": {"code": error.code, "message": error.message}}
    return {"source": source.to_json()}


if __name__ == "__main__":
    av.logging.set_level(None)
    serve_one_request(reply)
