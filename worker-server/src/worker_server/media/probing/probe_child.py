"""Probes a source inside a child process, so that a hostile file can harm only that process.

Run by `Prober`: takes a path, a demuxer and limits, answers `{"source": …}` or `{"error": …}`.
"""

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.logging
from av import AudioStream, VideoFrame, VideoStream
from av.container import InputContainer
from av.stream import Disposition

from worker_server.media.errors import SourceError
from worker_server.media.model.containers import open_source
from worker_server.media.model.frame_grid import find_grid, measured_rate
from worker_server.media.model.source import ProbeLimits, Source
from worker_server.media.probing.key_frames import KeyFrames
from worker_server.media.process.child_main import serve_one_request

_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_UNKNOWN = 2  # "unspecified" in every colour table of ISO/IEC 23091-2
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_MAX_MEASURED_RATE = 1000
_MAX_FRAMES_UNDECODED = (
    300  # a decoder that gave nothing after so many packets gives nothing at all
)
# How much of the promised length may be missing: headers round, and streams end apart.
_MISSING_S, _MISSING_SHARE = Fraction(1), Fraction(1, 50)


@dataclass
class Seen:
    """What the packets of a source say."""

    ticks: "array[int]" = field(default_factory=lambda: array("q"))
    last_tick: int | None = None
    last_duration: int = 0
    reorder_ticks: int = 0
    keys: KeyFrames = field(default_factory=KeyFrames)
    end_s: Fraction = Fraction(0)
    frame: VideoFrame | None = None
    undecoded: int = 0
    packets: int = 0
    indexed: int = (
        0  # frames the header lists; a file in fragments lists none, or those of the first
    )

    def add_frame_time(self, tick: int, duration: int) -> None:
        self.ticks.append(tick)
        if self.last_tick is None or tick > self.last_tick:
            self.last_tick, self.last_duration = tick, duration

    def note_reordering(self, tick: int, reorder_ticks: int, *, is_key: bool) -> None:
        """Note by how much a frame is listed before its time."""
        self.reorder_ticks = max(self.reorder_ticks, reorder_ticks)
        if is_key:
            self.keys.add(tick, reorder_ticks)


def look(path: Path, demuxer: str, limits: ProbeLimits) -> Source:
    """Read every packet of the source and return its facts. Raise SourceError for what cannot become clips."""
    try:
        with open_source(path, demuxer) as container:
            _check_header(container, limits)
            video, audio = _choose(container)
            _check_size(video, limits)
            seen = _read(container, video, demuxer, limits)
            return _facts(path, demuxer, limits, container, video, audio, seen)
    except av.error.FFmpegError as error:
        raise SourceError("source_damaged", f"The video is damaged: {error.strerror}.") from error


def _check_header(container: InputContainer, limits: ProbeLimits) -> None:
    if len(container.streams) > limits.max_streams:
        raise SourceError("source_limits", f"The file has more than {limits.max_streams} streams.")


def _choose(container: InputContainer) -> tuple[VideoStream, AudioStream | None]:
    """Return the first video stream that is no cover art, and the first audio stream."""
    videos = [stream for stream in container.streams.video if not stream.disposition & _PICTURES]
    if not videos:
        raise SourceError("source_has_no_video", "The file has no video in it.")
    # PyAV has no context where it has no decoder.
    if videos[0].codec_context is None:
        raise SourceError("source_codec_unsupported", "The video's codec is not supported.")
    audios = [stream for stream in container.streams.audio if stream.codec_context is not None]
    return videos[0], next(iter(audios), None)


def _check_size(video: VideoStream, limits: ProbeLimits) -> None:
    if max(video.codec_context.width, video.codec_context.height) > limits.max_side:
        raise SourceError(
            "source_frame_too_large",
            f"The picture has a side of more than {limits.max_side} pixels.",
        )


def _read(container: InputContainer, video: VideoStream, demuxer: str, limits: ProbeLimits) -> Seen:
    """Go through all packets, and decode until there is one frame."""
    seen = Seen(indexed=video.frames)
    video.codec_context.thread_count = 1
    for packet in container.demux():
        # AVI stores no presentation times; what is made up for them repeats and skips.
        tick = packet.dts if demuxer == "avi" or packet.pts is None else packet.pts
        if tick is None:
            continue  # the end of a stream
        _check_packet(packet)
        duration = packet.duration or 0
        seen.end_s = max(seen.end_s, (tick + duration) * packet.time_base)
        if packet.stream_index != video.index:
            continue
        seen.packets += 1
        seen.note_reordering(
            tick, 0 if packet.dts is None else tick - packet.dts, is_key=packet.is_keyframe
        )
        if not packet.is_discard:
            seen.add_frame_time(tick, duration)
        if len(seen.ticks) > limits.max_frames:
            raise SourceError(
                "source_limits", f"The video has more than {limits.max_frames} frames."
            )
        if seen.frame is None:
            _decode(seen, video, packet, limits)
    if seen.frame is None:
        seen.frame = next(iter(video.decode(None)), None)
    return seen


def _check_packet(packet: "av.Packet[Any]") -> None:
    if packet.is_corrupt:
        raise SourceError("source_damaged", "The video is cut off or damaged.")
    if packet.has_sidedata("encryption_info"):
        raise SourceError("source_protected", "The video is encrypted.")


def _decode(seen: Seen, video: VideoStream, packet: "av.Packet[Any]", limits: ProbeLimits) -> None:
    try:
        seen.frame = next(iter(video.decode(packet)), None)
    except av.error.InvalidDataError:
        seen.frame = None  # a stream may begin in the middle of a group of pictures
    seen.undecoded += 1
    if seen.frame is None and seen.undecoded > _MAX_FRAMES_UNDECODED:
        raise SourceError("source_damaged", "The video cannot be decoded.")
    if seen.frame and max(seen.frame.width, seen.frame.height) > limits.max_side:
        raise SourceError(
            "source_frame_too_large",
            f"The picture has a side of more than {limits.max_side} pixels.",
        )


def _facts(
    path: Path,
    demuxer: str,
    limits: ProbeLimits,
    container: InputContainer,
    video: VideoStream,
    audio: AudioStream | None,
    seen: Seen,
) -> Source:
    ticks, tick_s = sorted(set(seen.ticks)), video.time_base
    if seen.frame is None or not ticks or tick_s is None:
        raise SourceError("source_damaged", "The video has no frame that can be decoded.")
    _check_complete(container, demuxer, seen)
    _check_speed(ticks, seen, tick_s, limits)
    grid = find_grid(ticks, seen.last_duration, tick_s, _rate_hints(video), limits.max_fps)
    frame = seen.frame
    keyframe_delay_s = (
        seen.keys.reorder_delay_s(container, video, grid.rate) if demuxer == "mov" else None
    )
    return Source(
        demuxer=demuxer,
        size_bytes=path.stat().st_size,
        duration_s=grid.frame_count / grid.rate,
        video_index=video.index,
        video_codec=video.codec_context.name,
        width=frame.width,
        height=frame.height,
        pix_fmt=frame.format.name,
        sample_aspect=_sane_aspect(video.sample_aspect_ratio),
        rotation=round(frame.rotation / 90) * 90 % 360,
        mirrored=_is_mirrored(frame),
        interlaced=bool(frame.interlaced_frame),
        colour_matrix=int(frame.colorspace),
        colour_primaries=int(frame.color_primaries),
        colour_transfer=int(frame.color_trc),
        full_range=int(frame.color_range) == _FULL_RANGE or frame.format.name.startswith("yuvj"),
        frame_rate=grid.rate,
        is_vfr=not grid.is_constant,
        frame_count=grid.frame_count,
        packet_count=seen.packets,
        origin_s=grid.origin_s,
        last_pts_s=ticks[-1] * tick_s,
        reorder_delay_s=seen.reorder_ticks * tick_s,
        seeks_by_pts=keyframe_delay_s is not None,
        keyframe_reorder_delay_s=keyframe_delay_s or Fraction(0),
        is_indexed=seen.indexed >= seen.packets,
        video_streams=len(container.streams.video),
        has_audio=audio is not None,
        audio_index=audio.index if audio else -1,
        audio_codec=audio.codec_context.name if audio else "",
        audio_channels=audio.codec_context.channels if audio else 0,
    )


def _check_complete(container: InputContainer, demuxer: str, seen: Seen) -> None:
    """Refuse a file that ends before its header says."""
    # Only here a count is one of stored frames; AVI counts repetitions as well.
    if demuxer == "mov" and seen.packets < seen.indexed * (1 - _MISSING_SHARE) - 1:
        raise SourceError(
            "source_damaged", "The video is cut off: frames of its index are missing."
        )
    if container.duration:
        promised = Fraction(container.duration + (container.start_time or 0), av.time_base)
        if promised - seen.end_s > max(_MISSING_S, promised * _MISSING_SHARE):
            raise SourceError(
                "source_damaged", "The video is cut off before the end its header gives."
            )


def _check_speed(ticks: Sequence[int], seen: Seen, tick_s: Fraction, limits: ProbeLimits) -> None:
    if (ticks[-1] - ticks[0]) * tick_s > limits.max_duration_s:
        raise SourceError(
            "source_too_long", f"The video is longer than {limits.max_duration_s:g} s."
        )
    rate = measured_rate(ticks, seen.last_duration, tick_s)
    if rate and len(ticks) > 1 and rate > _MAX_MEASURED_RATE:
        raise SourceError(
            "source_limits", f"The video has more than {_MAX_MEASURED_RATE} frames a second."
        )


def _rate_hints(video: VideoStream) -> list[Fraction]:
    claimed = (
        video.guessed_rate,
        video.base_rate,
        video.average_rate,
        video.codec_context.framerate,
    )
    return [Fraction(rate) for rate in claimed if rate]


def _is_mirrored(frame: VideoFrame) -> bool:
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False
    matrix = struct.unpack("9i", bytes(data)[:36])
    return bool(matrix[0] * matrix[4] - matrix[1] * matrix[3] < 0)


def _sane_aspect(aspect: Fraction | None) -> Fraction:
    return Fraction(aspect) if aspect and Fraction(1, 8) <= aspect <= 8 else Fraction(1)


def reply(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the source's facts, or why no clips can be made of it."""
    try:
        source = look(
            Path(payload["path"]), payload["demuxer"], ProbeLimits.from_json(payload["limits"])
        )
    except SourceError as error:
        return {"error": {"code": error.code, "message": error.message}}
    return {"source": source.to_json()}


if __name__ == "__main__":
    av.logging.set_level(None)
    serve_one_request(reply)
