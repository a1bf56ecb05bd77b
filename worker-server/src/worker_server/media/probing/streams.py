"""Picks the streams that clips are made of."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from av import AudioStream, VideoStream
from av.container import InputContainer
from av.stream import Disposition, Stream

from worker_server.media.errors import SourceError
from worker_server.media.model.containers import may_decode, open_source, packets_of
from worker_server.media.model.source import ProbeLimits
from worker_server.media.model.transport_stream import pids_of_other_programs

_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
# Made for some listeners only: commentary, audio description, clear speech for the hard of hearing,
# and the clean sound of an effects track.
_SPECIAL = (
    Disposition.comment
    | Disposition.visual_impaired
    | Disposition.hearing_impaired
    | Disposition.descriptions
    | Disposition.clean_effects
    | Disposition.karaoke
    | Disposition.non_diegetic
)
# "Comentarios", "Kommentar", "Audiodeskription" too.
_SPECIAL_TITLE = re.compile(r"[ck]omm?ent|des[ck]ri", re.IGNORECASE)


def choose_video(
    container: InputContainer, path: Path, demuxer: str, limits: ProbeLimits
) -> VideoStream:
    """Return the video stream to take; `container` is of the file at `path`.

    A stream with two packets or more comes first, then one that can be decoded, then one that is
    flagged as default; cover art does not count. In ASF several streams are the same film at
    several bit rates: the largest is taken. Raise SourceError if none can be used.
    """
    # Subtitles, fonts and data do not count: they cost nothing, and a film may have a hundred.
    if len(container.streams.video) + len(container.streams.audio) > limits.max_streams:
        message = f"The file has more than {limits.max_streams} video and audio streams."
        raise SourceError("source_limits", message)
    videos = streams_without_covers(container)
    if not videos:
        raise SourceError("source_has_no_video", "The file has no video in it.")
    moving = _moving(path, demuxer, videos) if len(videos) > 1 else set()
    video = min(
        videos,
        key=lambda each: (
            each.index not in moving,
            not may_decode(each),
            not _is_default(each),
            -_pixels(each) if demuxer == "asf" else 0,
        ),
    )
    if not may_decode(video):
        raise SourceError("source_codec_unsupported", "The video's codec is not supported.")
    check_size(video.codec_context.width, video.codec_context.height, limits)
    return video


def streams_without_covers(container: InputContainer) -> list[VideoStream]:
    """Return the video streams without cover art and thumbnails."""
    return [stream for stream in container.streams.video if not stream.disposition & _PICTURES]


def _moving(path: Path, demuxer: str, videos: Sequence[VideoStream]) -> set[int]:
    """Return the indexes of the streams that have two packets or more."""
    awaited, packets = {video.index for video in videos}, Counter[int]()
    with open_source(path, demuxer) as container:
        streams = [container.streams[index] for index in awaited]
        for packet in packets_of(container, *streams):
            packets[packet.stream_index] += bool(packet.size)
            if all(packets[index] > 1 for index in awaited):
                break
    return {index for index in awaited if packets[index] > 1}


def _is_default(stream: Stream) -> bool:
    return bool(stream.disposition & Disposition.default)


def _pixels(video: VideoStream) -> int:
    return video.codec_context.width * video.codec_context.height if may_decode(video) else 0


def check_size(width: int, height: int, limits: ProbeLimits) -> None:
    """Raise SourceError for a picture that is too large."""
    if not limits.allow_size(width, height):
        raise SourceError(
            "source_frame_too_large",
            f"The picture has a side of more than {limits.max_side} pixels,"
            f" or more than {limits.max_pixels} pixels.",
        )


def ranked_sounds(
    container: InputContainer, path: Path, demuxer: str, video: VideoStream
) -> Sequence[AudioStream]:
    """Return the sound streams that can be decoded, the one to take first.

    A stream that is flagged as default comes before others, commentary and audio description after
    all. Of several television programs only that of the picture counts. None where all tracks of
    sound are disabled.
    """
    if demuxer == "mov" and _sound_is_disabled(container):
        return []
    others = pids_of_other_programs(path, video.id) if demuxer == "mpegts" else ()
    decodable = (stream for stream in container.streams.audio if may_decode(stream))
    sounds = [stream for stream in decodable if stream.id not in others]
    return sorted(sounds, key=lambda each: (_is_special(each), not _is_default(each)))


def _sound_is_disabled(container: InputContainer) -> bool:
    """Return whether the tracks of an MP4 with sound are disabled, and one with pictures is not.

    A disabled track counts as absent (ISO/IEC 14496-12, 8.3.1), but where all are, players ignore
    the flag. libavformat calls enabled tracks default.
    """
    streams = container.streams
    return not any(map(_is_default, streams.audio)) and any(map(_is_default, streams.video))


def _is_special(stream: AudioStream) -> bool:
    title = stream.metadata.get("title", "") + stream.metadata.get("handler_name", "")
    return bool(stream.disposition & _SPECIAL) or bool(_SPECIAL_TITLE.search(title))
